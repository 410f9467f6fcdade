// A program that no library can be loaded into: its system calls are where those of another program may have been.
package main

import (
	"os"
	"runtime"
	"time"
)

func main() {
	for i := 0; i < 20; i++ {
		go func() { time.Sleep(time.Microsecond) }()
		runtime.GC()
	}
	file, err := os.CreateTemp("", "uvale-child")
	if err != nil {
		os.Exit(1)
	}
	os.Remove(file.Name())
	file.Close()
	if os.Getpid() != 0 {
		os.Stdout.WriteString("child\n")
	}
}
