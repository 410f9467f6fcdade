// A program that needs the C library and starts others by the standard library, which makes the calls between fork and
// exec itself, while descriptors of the device are open: these are to stay what they are.
//
//	children PROGRAM...
//
// runs each program, and itself, many times at once, with a collector of garbage and signals at work.
package main

// #include <stdlib.h>
import "C"

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	workers   = 4
	rounds    = 5
	niotxsync = 'i'<<8 | 148
)

func failed(format string, values ...any) {
	fmt.Printf("FAILED "+format+"\n", values...)
	os.Exit(1)
}

func open() int {
	fd, err := syscall.Open("/dev/netmap", syscall.O_RDWR, 0)
	if err != nil {
		failed("open: %v", err)
	}
	return fd
}

// A descriptor that is bound to nothing says ENXIO, which no other file does.
func check(fd int, when string) {
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), niotxsync, 0)
	if e != syscall.ENXIO {
		failed("%s: %v", when, e)
	}
}

func child() {
	fd := open()
	check(fd, "child")
	syscall.Close(fd)
}

func work(commands [][]string, fds []int) {
	for i := 0; i < rounds; i++ {
		for _, command := range commands {
			said, err := exec.Command(command[0], command[1:]...).CombinedOutput()
			if err != nil {
				failed("%v: %v: %s", command, err, said)
			}
			for _, fd := range fds {
				check(fd, command[0])
			}
			own := open()
			check(own, "own")
			syscall.Close(own)
		}
	}
}

func main() {
	C.free(C.malloc(1))
	if len(os.Args) == 2 && os.Args[1] == "child" {
		child()
		return
	}
	self, err := os.Executable()
	if err != nil {
		failed("%v", err)
	}
	commands := [][]string{{self, "child"}, {"timeout", "60", self, "child"}, {"sh", "-c", "exit 0"}}
	for _, program := range os.Args[1:] {
		commands = append(commands, []string{program})
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGUSR1, syscall.SIGSYS)
	go func() {
		for {
			time.Sleep(time.Millisecond)
			syscall.Kill(syscall.Getpid(), syscall.SIGUSR1)
			runtime.GC()
		}
	}()
	fds := []int{open(), open(), open()}
	var all sync.WaitGroup
	for i := 0; i < workers; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			work(commands, fds)
		}()
	}
	all.Wait()
	if len(signals) == 0 {
		failed("no signal has come")
	}
	fmt.Println("ok")
}
