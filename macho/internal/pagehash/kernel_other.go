//go:build !amd64 && !arm64

package pagehash

func supported() []kernel { return nil }

func (k *kernel) blocks(*[maxLanes * 8]uint32, *[maxLanes]*byte, int) { panic("pagehash: no kernel") }
