// Package rules finds and replaces the hash parts and base names of store paths in bytes.
//
// Parse and ParseFile read rules, and Compile combines them into a Set. A Set finds its rules in text with one, two or
// four bytes per character, at any offset, at a cost that hardly depends on the number of rules. A replacement has the
// same length as the text that it replaces.
//
// ScanStorePaths finds complete store paths without any rules.
package rules
