// Built together with programs/reach/exchange.go, this makes a program that needs the C library: its threads are the C
// library's, and its system calls are still those of Go's runtime.
package main

// #include <stdlib.h>
import "C"

func init() {
	C.free(C.malloc(1))
}
