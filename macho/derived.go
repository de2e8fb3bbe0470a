package macho

// DerivedRanges returns the bytes of image that are computed from its other bytes, as sorted ranges that do not touch.
// In each slice whose signature is well-formed, these are
//
//   - the slots of each CodeDirectory of a known hash type: all special slots and code slots, from
//     hashOffset - nSpecialSlots*hashSize up to hashOffset + nCodeSlots*hashSize, and as many pre-encrypt slots as there
//     are code slots, from preEncryptOffset if that is not 0;
//   - the 16 bytes of the UUID in the first LC_UUID command, which linkers compute from the contents.
//
// The ranges do not depend on the hashes in them. DerivedRanges does not write to the image.
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
	}, nil)
	if err != nil {
		return nil, err
	}
	return normalize(all, image.Size())
}
