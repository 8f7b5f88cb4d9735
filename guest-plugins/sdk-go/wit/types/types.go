// Package wit_types has the types of WIT that Go has no word for.
package wit_types

// Unit is nothing: what a result without a value is in the case of success.
type Unit struct{}

// The cases of an [Option], for generated code.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Option is a value that may be missing.
type Option[T any] struct {
	value   T
	present bool
}

// Some is a value that is there.
func Some[T any](value T) Option[T] {
	return Option[T]{value: value, present: true}
}

// None is a value that is missing.
func None[T any]() Option[T] {
	return Option[T]{}
}

// Get returns the value, and whether there is one.
func (o Option[T]) Get() (T, bool) {
	return o.value, o.present
}

// Tag tells which case it is.
func (o Option[T]) Tag() uint8 {
	if o.present {
		return OptionSome
	}
	return OptionNone
}

// Some returns the value; without one the plugin fails.
func (o Option[T]) Some() T {
	if !o.present {
		panic("there is no value")
	}
	return o.value
}

// The cases of a [Result], for generated code.
const (
	ResultOk uint8 = iota
	ResultErr
)

// Result is a value, or why there is none.
type Result[T, E any] struct {
	value T
	fault E
	tag   uint8
}

// Ok is a success.
func Ok[T, E any](value T) Result[T, E] {
	return Result[T, E]{value: value, tag: ResultOk}
}

// Err is a failure.
func Err[T, E any](fault E) Result[T, E] {
	return Result[T, E]{fault: fault, tag: ResultErr}
}

// Get returns the value and true, or the fault and false.
func (r Result[T, E]) Get() (T, E, bool) {
	return r.value, r.fault, r.tag == ResultOk
}

// Tag tells which case it is.
func (r Result[T, E]) Tag() uint8 {
	return r.tag
}

// Ok returns the value; without one the plugin fails, and the operator's `on-failure` decides.
func (r Result[T, E]) Ok() T {
	if r.tag != ResultOk {
		panic(r.fault)
	}
	return r.value
}

// Err returns the fault; without one the plugin fails.
func (r Result[T, E]) Err() E {
	if r.tag != ResultErr {
		panic("there is no fault")
	}
	return r.fault
}
