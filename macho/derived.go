package macho

// DerivedRanges returns, sorted and apart from each other, the bytes of image
// that are derived from its other bytes: in each slice whose signature is
// well-formed
//
//   - the slots of each CodeDirectory of a known hash type: all special slots
//     and code slots, from hashOffset - nSpecialSlots*hashSize up to
//     hashOffset + nCodeSlots*hashSize, and the pre-encrypt slots, as many as
//     the code slots, from preEncryptOffset where that is not 0;
//   - the 16 bytes of the UUID in the first LC_UUID command, which linkers
//     make of the contents.
//
// Where they lie does not depend on the hashes that they hold. Image is only
// read.
func DerivedRanges(image Image) ([]Range, error) {
	var all []Range
	_, err := Config{}.run(image, func(j *sliceJob) error {
		if j.sig == nil {
			return nil
		}
		add := func(off, length int64) { all = append(all, Range{j.slice.off + off, length}) }
		for _, d := range j.sig.dirs {
			if d.hashType.size() == 0 {
				continue
			}
			add(d.off+d.hashOffset-d.special*d.hashSize, (d.special+d.code)*d.hashSize)
			if d.preEncrypt != 0 {
				add(d.off+d.preEncrypt, d.code*d.hashSize)
			}
		}
		uuid := j.slice.commands.uuid
		add(uuid.Off, uuid.Len)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return normalize(all, image.Size())
}
