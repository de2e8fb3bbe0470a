package spill

import (
	"testing"

	"golang.org/x/sync/semaphore"
)

// Runs share a Budget: what has no room goes to a File, and all memory comes back at the end.
func TestShare(t *testing.T) {
	const size = 10 << 20
	budget := semaphore.NewWeighted(size)
	o := Options{Memory: size, Budget: budget, Open: opener(new(int))}
	first, endFirst := o.Share()
	second, endSecond := o.Share()

	a, b := NewBuffer(first), NewBuffer(second)
	if !a.Reserve(7<<20) || a.Spilled() {
		t.Fatal("no room for the first buffer")
	}
	if b.Reserve(4<<20) || !b.Spilled() {
		t.Error("the second buffer has more room than is left")
	}
	data := text(4 << 20)
	if err := b.Append(data, int64(len(data))); err != nil || b.Memory() != 0 || b.file == nil {
		t.Errorf("%v; %d bytes in memory", err, b.Memory())
	}
	if err := b.Reset(); err != nil || b.Spilled() {
		t.Errorf("reset: %v", err)
	}
	if !b.Reserve(3 << 20) {
		t.Error("no room for a buffer that fits")
	}

	// Reset keeps memory, and so its part of the Budget.
	if err := a.Append(text(7<<20), 7<<20); err != nil {
		t.Fatal(err)
	}
	if err := a.Reset(); err != nil {
		t.Fatal(err)
	}
	if budget.TryAcquire(1) {
		t.Error("memory that is in use was returned")
	}
	detached := a.Detach()
	first.Give(detached.Taken)
	if !budget.TryAcquire(7 << 20) {
		t.Error("detached memory was not returned")
	}
	budget.Release(7 << 20)

	// A Queue takes what its items use.
	q := NewQueue(first)
	for range 100 {
		i, err := q.New()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := i.Write(text(100 << 10)); err != nil {
			t.Fatal(err)
		}
	}
	if q.used > 7<<20+freeMemory || q.used < 6<<20 {
		t.Errorf("the items take %d bytes of memory", q.used)
	}
	for range minParked + freeMemory/itemMemory {
		if _, err := q.New(); err != nil {
			t.Fatal(err)
		}
	}
	if !q.Full(minParked) {
		t.Error("items are not parked, although there is no room")
	}
	q.Close()
	if !budget.TryAcquire(7 << 20) {
		t.Error("the memory of items was not returned")
	}
	budget.Release(7 << 20)

	endFirst()
	endSecond()
	if !budget.TryAcquire(size) {
		t.Error("not all memory was returned at the end")
	}
}
