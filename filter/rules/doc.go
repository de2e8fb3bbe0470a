// Package rules finds and replaces the hash parts and base names of store paths in bytes.
//
// Parse and ParseFile read rules, and Compile makes a Set of them. A Set finds its rules in text of one, two or four
// bytes a character, at any offset, at a cost that hardly depends on the number of rules. Replacements have the length
// of what they replace.
//
// ScanStorePaths finds whole store paths without knowing any of them.
package rules
