package resources

import (
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// These are compiled on first use, since few runs have a bundle.
var (
	onlyHashes = lazyRegexp(`^\s*\(?\s*cdhash H"[0-9a-fA-F]{40}"(\s+or\s+cdhash H"[0-9a-fA-F]{40}")*\s*\)?\s*$`)
	oneHash    = lazyRegexp(`H"([0-9a-fA-F]{40})"`)
	// aToken is the beginning of a comment, a string, a certificate field, a word, or one other character.
	aToken = lazyRegexp(`/\*|"[^"\\]*"|\[[^\[\]"]*\]|[A-Za-z0-9_.]+|\S`)
)

func lazyRegexp(s string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(s) })
}

// matchCode describes how nested code violates its requirement. It returns "" if it does not. For a requirement on a
// certificate, it only checks the identifier, and that the code is signed by some certificate.
func matchCode(requirement string, code []Code) string {
	if len(code) == 0 {
		return unsignedCode
	}
	if onlyHashes().MatchString(requirement) {
		wanted := map[string]bool{}
		for _, m := range oneHash().FindAllStringSubmatch(requirement, -1) {
			wanted[strings.ToLower(m[1])] = true
		}
		for _, slice := range code {
			switch {
			case len(slice.CDHash) == 0:
				return unsignedCode
			case !wanted[hex.EncodeToString(slice.CDHash)]:
				return codeChanged
			}
		}
		return ""
	}
	identifier, problem := certificateRequirement(requirement)
	if problem != "" {
		return "nested code not checked: " + problem
	}
	for _, slice := range code {
		switch {
		case slice.Identifier != identifier:
			return "nested code has another identifier"
		case len(slice.CDHash) == 0:
			return unsignedCode
		case slice.AdHoc:
			return notCertified
		}
	}
	return ""
}

const unsignedCode = "nested code is not signed"

// certificateWords lists the words of requirements on an identifier and a certificate (codesign's "Code Signing
// Requirement Language"). A requirement with any other word needs checks that matchCode does not make.
var certificateWords = []string{
	"identifier", "anchor", "apple", "generic", "trusted", "certificate", "cert", "leaf", "root", "exists", "and", "or",
}

// certificateRequirement returns the identifier in a requirement on a certificate, or the reason why there is none.
func certificateRequirement(text string) (identifier, problem string) {
	tokens, closed := tokensOf(text)
	if !closed {
		return "", "its requirement has a comment without an end"
	}
	named, certified := false, false
	for i := 0; i < len(tokens); i++ {
		t, next := tokens[i], ""
		if i+1 < len(tokens) {
			next = tokens[i+1]
		}
		switch {
		case t == "identifier" && !named && isOperand(next):
			identifier, named = strings.Trim(next, `"`), true
			i++
		case t == "=" && next == "H" && i+2 < len(tokens) && isOperand(tokens[i+2]):
			i += 2
		case t == "=" && isOperand(next):
			i++
		case t == "anchor" || t == "certificate" || t == "cert":
			certified = true
		case t == "(" || t == ")" || t[0] == '[' && len(t) > 1 || '0' <= t[0] && t[0] <= '9':
		case t == "identifier" || !slices.Contains(certificateWords, t):
			return "", "its requirement is neither on cdhashes nor only on an identifier and a certificate"
		}
	}
	switch {
	case !named:
		return "", "its requirement names no cdhash and no identifier"
	case !certified:
		return "", "its requirement is neither on cdhashes nor on a certificate"
	}
	return identifier, ""
}

// tokensOf returns the tokens of a requirement without its comments, or false if a comment has no end. It runs in
// linear time.
func tokensOf(text string) (tokens []string, closed bool) {
	for {
		found := aToken().FindStringIndex(text)
		if found == nil {
			return tokens, true
		}
		t := text[found[0]:found[1]]
		text = text[found[1]:]
		if t != "/*" {
			tokens = append(tokens, t)
			continue
		}
		if _, text, closed = strings.Cut(text, "*/"); !closed {
			return nil, false
		}
	}
}

// isOperand reports whether a token is a string or a word.
func isOperand(t string) bool {
	return len(t) > 1 && t[0] == '"' || t != "" && t[0] != '"' && (t[0] == '.' || t[0] == '_' || '0' <= t[0] && t[0] <= '9' ||
		'A' <= t[0] && t[0] <= 'Z' || 'a' <= t[0] && t[0] <= 'z')
}
