// Package runtime is what generated bindings and Go's own runtime need to live together in a component.
//
// It owns the memory that the host writes into: `cabi_realloc` gives it out, and it stays where it is until somebody lets go
// of it. It does not know what is in it.
package runtime

import (
	"runtime"
	"unsafe"
)

// Memory for those who ask before Go has started: the adapter to WASI puts its stack and its state there. Nothing of it
// comes back.
var early [256 << 10]byte
var earlyUsed uintptr

// Go has started. Set by init, for a value in the declaration would be there from the beginning.
var started bool

func init() {
	started = true
}

// What the host has written, until a hook is over.
var given runtime.Pinner

// Allocate returns zeroed memory that stays where it is until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	var memory unsafe.Pointer
	// Go aligns a block by the type of its elements.
	switch {
	case align <= 1:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint8, size)))
	case align <= 4:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint32, (size+3)/4)))
	default:
		memory = unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	}
	pinner.Pin(memory)
	return memory
}

// Unpin lets go of what the host has written.
func Unpin() {
	given.Unpin()
}

// While the host waits for memory the component may not call it. Go's collector, which may run here, asks for the time:
// the adapter then answers with the last one that it knows.
//
//go:wasmimport wasi_snapshot_preview1 adapter_monotonic_clock_set_paused
func pauseClock(paused bool)

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if old != nil || oldSize != 0 {
		// The host makes new blocks and never grows one.
		panic("cabi_realloc was asked to grow a block")
	}
	if !started {
		begin := uintptr(unsafe.Pointer(&early)) + earlyUsed
		padding := -begin & (align - 1)
		if size > uintptr(len(early)) || earlyUsed+padding+size > uintptr(len(early)) {
			panic("too much is asked for before the start")
		}
		earlyUsed += padding + size
		return unsafe.Add(unsafe.Pointer(&early), earlyUsed-size)
	}
	pauseClock(true)
	memory := Allocate(&given, size, align)
	pauseClock(false)
	return memory
}
