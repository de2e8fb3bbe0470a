package resources

// The units of List.Cost. One takes a few nanoseconds.
const (
	// fileCost is the cost of a file, and of an entry of the list, without expressions.
	fileCost = 128
	// ruleCost is the cost of compiling an expression, and instructionCost that of each of its instructions.
	ruleCost        = 512
	instructionCost = 128
)

// Cost estimates the work of a comparison with these files: bytes of paths times instructions of expressions, files,
// entries of the list, and the compiling of the expressions. Expressions that codesign writes are not compiled; all of
// them together cost as much as an instruction.
func (l *List) Cost(files []File) int64 {
	bytes := 0
	for i := range files {
		bytes += len(files[i].Path)
	}
	cost := int64(bytes)*int64(1+l.size) + fileCost*int64(len(files)+len(l.files)) + instructionCost*int64(l.size)
	for i := range l.rules {
		if !l.rules[i].isKnown {
			cost += ruleCost
		}
	}
	return cost
}
