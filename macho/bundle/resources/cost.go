package resources

// Costs for List.Cost. A unit is a few nanoseconds.
const (
	// fileCost is the cost of a file or an entry of the list, without expressions.
	fileCost = 128
	// ruleCost is the cost of compiling an expression, plus instructionCost for each of its instructions.
	ruleCost        = 512
	instructionCost = 128
	// requirementCost is the cost of a byte of a requirement on nested code.
	requirementCost = 16
)

// Cost estimates the time of a comparison with these files, in units of a few nanoseconds. It adds up bytes of paths
// times instructions of expressions, files, entries of the list, requirements, and compiling the expressions.
// Expressions that codesign writes are not compiled; all of them together cost as much as one instruction.
func (l *List) Cost(files []File) int64 {
	bytes := 0
	for i := range files {
		bytes += len(files[i].Path)
	}
	cost := int64(bytes)*int64(1+l.size) + fileCost*int64(len(files)+len(l.files)) + instructionCost*int64(l.size)
	for _, s := range l.files {
		if s.isCode {
			cost += requirementCost * int64(len(s.text))
		}
	}
	for i := range l.rules {
		if !l.rules[i].isKnown {
			cost += ruleCost
		}
	}
	return cost
}
