// Counted traffic that checks itself, by a program without C: the Go runtime makes every system call itself.
//
//	exchange tx|rx PORT [key=value...]
//
// Arguments and lines are those of programs/robust/traffic.c, as far as they are here:
//
//	id=N      number of the sender (0 to 255), also the last byte of its address      [1]
//	to=N      last byte of the destination address, 255: broadcast                    [255]
//	n=N       end after that many packets, 0: never                                   [0]
//	batch=N   packets per sync                                                        [64]
//	len=N     bytes of a packet                                                       [64]
//	how=W     sync, poll, select, epoll, et (edge triggered), netpoller (the runtime's own waiting)  [sync]
//	gapless=1 rx: no packet may be missing; 2: none after the first that arrives
//	go=FILE   after "ready" wait until FILE exists
//	then=W    after the last packet: end, hold (until killed)                         [end]
//
// Lines: "ready pid=N" when bound, "end n=N lost=N" at the end, "gone what=WHY" when the device says that it is gone
// (exit status 3). Status 1 with "FAILED ...": something was not as it must be.
package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	api        = 14
	register   = 1
	allNIC     = 1
	iowr       = 0xc0000000
	nioctl     = iowr | 88<<16 | 'i'<<8 | 151
	niotxsync  = 'i'<<8 | 148
	niorxsync  = 'i'<<8 | 149
	magic      = 0x6f627573
	header     = 14
	shortest   = 64
	maxSenders = 256
	pollIn     = 1
	pollOut    = 4
	pollBad    = 8 | 16 | 32
)

type nmreqHeader struct {
	version, reqtype uint16
	reserved         uint32
	name             [64]byte
	options, body    uint64
}

type nmreqRegister struct {
	offset, memsize                          uint64
	txSlots, rxSlots                         uint32
	txRings, rxRings, hostTxRings, hostRings uint16
	memID, ringID                            uint16
	mode, extraBufs                          uint32
	flags                                    uint64
}

type netmapIf struct {
	name                   [16]byte
	version, flags         uint32
	txRings, rxRings       uint32
	bufsHead               uint32
	hostTxRings, hostRings uint32
	_                      [3]uint32
}

type netmapRing struct {
	bufOfs            int64
	numSlots, bufSize uint32
	ringID, dir       uint16
	head, cur, tail   uint32
	flags             uint32
	_                 [220]byte
}

type netmapSlot struct {
	bufIdx     uint32
	len, flags uint16
	ptr        uint64
}

func failed(format string, values ...any) {
	fmt.Printf("FAILED "+format+"\n", values...)
	os.Exit(1)
}

func gone(what string) {
	fmt.Printf("gone what=%s\n", what)
	os.Exit(3)
}

type options struct {
	tx, hold            bool
	id, to              byte
	n                   uint64
	batch, len, gapless int
	how, goFile         string
}

type port struct {
	file *os.File
	raw  syscall.RawConn
	fd   int
	mem  []byte
	nif  *netmapIf
	reg  nmreqRegister
	ep   int
	sent [16]uint64
	seen struct {
		packets, lost uint64
		next          [maxSenders]uint64
		known         [maxSenders]bool
	}
}

func ioctl(fd int, request uint, arg unsafe.Pointer) syscall.Errno {
	_, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(arg))
	return e
}

// at gives the value at byte ofs of the region.
func at[T any](p *port, ofs int) *T {
	var t T
	_ = p.mem[ofs+int(unsafe.Sizeof(t))-1]
	return (*T)(unsafe.Pointer(&p.mem[ofs]))
}

func open(name string, o *options) *port {
	p := &port{ep: -1}
	var err error
	flags := syscall.O_RDWR | syscall.O_CLOEXEC
	if o.how == "netpoller" {
		flags |= syscall.O_NONBLOCK
	}
	p.fd, err = syscall.Open("/dev/netmap", flags, 0)
	if err != nil {
		fmt.Printf("open %v\n", err)
		os.Exit(4)
	}
	h := nmreqHeader{version: api, reqtype: register, body: uint64(uintptr(unsafe.Pointer(&p.reg)))}
	copy(h.name[:63], name)
	p.reg.mode = allNIC
	e := ioctl(p.fd, nioctl, unsafe.Pointer(&h))
	runtime.KeepAlive(p)
	if e != 0 {
		fmt.Printf("open errno=%d %v\n", int(e), e)
		os.Exit(4)
	}
	p.mem, err = syscall.Mmap(p.fd, 0, int(p.reg.memsize), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		failed("mmap: %v", err)
	}
	p.nif = at[netmapIf](p, int(p.reg.offset))
	if o.how == "netpoller" {
		// Not before it is bound: until then it polls as broken, and the runtime waits for no such file.
		p.file = os.NewFile(uintptr(p.fd), "/dev/netmap")
		if p.raw, err = p.file.SyscallConn(); err != nil {
			failed("SyscallConn: %v", err)
		}
	}
	return p
}

// ring gives where a ring begins in the region.
func (p *port) ring(tx bool, i uint32) int {
	if !tx {
		i += p.nif.txRings + p.nif.hostTxRings
	}
	ofs := int(p.reg.offset) + int(unsafe.Sizeof(*p.nif)) + 8*int(i)
	return int(p.reg.offset) + int(*at[int64](p, ofs))
}

func (p *port) slot(ring int, i uint32) *netmapSlot {
	const first = 256 // of the slots
	return at[netmapSlot](p, ring+first+16*int(i))
}

func (p *port) buffer(ring int, slot *netmapSlot) []byte {
	r := at[netmapRing](p, ring)
	from := ring + int(r.bufOfs) + int(slot.bufIdx)*int(r.bufSize)
	return p.mem[from : from+int(r.bufSize)]
}

func pattern(seed uint32, i int) byte {
	return byte((seed + uint32(i)*2654435761) >> 24)
}

func writePacket(b []byte, o *options, sender byte, seq uint64) {
	for i := 0; i < 12; i++ {
		b[i] = 0
	}
	if o.to == 0xff {
		copy(b, []byte{255, 255, 255, 255, 255, 255})
	} else {
		b[0], b[5] = 2, o.to
	}
	b[6], b[11], b[12], b[13] = 2, sender, 0x88, 0xb5
	seed := uint32(seq*40503) + uint32(sender)
	binary.LittleEndian.PutUint32(b[header:], magic)
	binary.LittleEndian.PutUint32(b[header+4:], uint32(sender))
	binary.LittleEndian.PutUint64(b[header+8:], seq)
	binary.LittleEndian.PutUint32(b[header+16:], uint32(o.len))
	binary.LittleEndian.PutUint32(b[header+20:], seed)
	for i := header + 24; i < o.len; i++ {
		b[i] = pattern(seed, i)
	}
}

func (p *port) checkPacket(b []byte, gapless int) {
	if len(b) < header+24 {
		failed("a packet of %d bytes", len(b))
	}
	if binary.LittleEndian.Uint32(b[header:]) != magic {
		return // somebody else's
	}
	sender := binary.LittleEndian.Uint32(b[header+4:])
	seq := binary.LittleEndian.Uint64(b[header+8:])
	seed := binary.LittleEndian.Uint32(b[header+20:])
	if n := binary.LittleEndian.Uint32(b[header+16:]); int(n) != len(b) || sender >= maxSenders {
		failed("sender %d seq %d: %d bytes arrived, %d were sent", sender, seq, len(b), n)
	}
	for i := header + 24; i < len(b); i++ {
		if b[i] != pattern(seed, i) {
			failed("sender %d seq %d: byte %d of %d is damaged", sender, seq, i, len(b))
		}
	}
	s := &p.seen
	wanted := s.next[sender]
	if s.known[sender] && (seq < wanted || gapless != 0 && seq != wanted) {
		failed("sender %d: seq %d arrived where %d was expected", sender, seq, wanted)
	}
	if s.known[sender] {
		s.lost += seq - wanted
	} else if gapless == 1 && seq != 0 {
		failed("sender %d: the first packet is seq %d", sender, seq)
	}
	s.known[sender], s.next[sender] = true, seq+1
	s.packets++
}

// fill puts up to most packets into the tx rings.
func (p *port) fill(o *options, most uint64) uint64 {
	var done uint64
	for r := uint32(0); r < uint32(p.reg.txRings) && r < 16; r++ {
		ofs := p.ring(true, r)
		ring := at[netmapRing](p, ofs)
		head, tail, n := ring.head, atomic.LoadUint32(&ring.tail), uint64(0)
		for ; head != tail && n < uint64(o.batch) && done < most; n++ {
			slot := p.slot(ofs, head)
			writePacket(p.buffer(ofs, slot), o, o.id+byte(r), p.sent[r])
			slot.len, slot.flags = uint16(o.len), 0
			p.sent[r]++
			done++
			if head++; head == ring.numSlots {
				head = 0
			}
		}
		ring.cur = head
		atomic.StoreUint32(&ring.head, head)
	}
	return done
}

// empty takes up to a batch out of each rx ring.
func (p *port) empty(o *options) uint64 {
	before := p.seen.packets
	for r := uint32(0); r < uint32(p.reg.rxRings); r++ {
		ofs := p.ring(false, r)
		ring := at[netmapRing](p, ofs)
		head, tail := ring.head, atomic.LoadUint32(&ring.tail)
		for n := 0; head != tail && n < o.batch; n++ {
			slot := p.slot(ofs, head)
			if slot.flags&0x20 != 0 {
				failed("a packet of several slots")
			}
			b := p.buffer(ofs, slot)
			if int(slot.len) > len(b) {
				failed("a slot of %d bytes", slot.len)
			}
			p.checkPacket(b[:slot.len], o.gapless)
			if head++; head == ring.numSlots {
				head = 0
			}
		}
		ring.cur = head
		atomic.StoreUint32(&ring.head, head)
	}
	return p.seen.packets - before
}

func (p *port) sync(tx bool) {
	request := uint(niorxsync)
	if tx {
		request = niotxsync
	}
	if e := ioctl(p.fd, request, nil); e != 0 {
		fmt.Printf("sync errno=%d\n", int(e))
		gone("sync")
	}
}

// ready tells whether a ring has something that the program has not looked at.
func (p *port) ready(tx bool) bool {
	n := uint32(p.reg.rxRings)
	if tx {
		n = uint32(p.reg.txRings)
	}
	for r := uint32(0); r < n; r++ {
		ring := at[netmapRing](p, p.ring(tx, r))
		if ring.head != atomic.LoadUint32(&ring.tail) {
			return true
		}
	}
	return false
}

// wait waits until the port may have something, which is a sync as well.
func (p *port) wait(o *options) {
	events := uint32(pollIn)
	if o.tx {
		events = pollOut
	}
	var got uint32
	var e syscall.Errno
	var n uintptr
	switch o.how {
	case "sync":
		p.sync(o.tx)
		runtime.Gosched()
		return
	case "netpoller":
		look := func(uintptr) bool {
			p.sync(o.tx)
			return p.ready(o.tx) || stopped.Load()
		}
		wait := p.raw.Read
		if o.tx {
			wait = p.raw.Write
		}
		if err := wait(look); err != nil {
			fmt.Printf("wait %v\n", err)
			gone("errno")
		}
		return
	case "poll":
		f := struct {
			fd              int32
			events, revents int16
		}{int32(p.fd), int16(events), 0}
		// ppoll, which every processor has
		n, _, e = syscall.Syscall6(syscall.SYS_PPOLL, uintptr(unsafe.Pointer(&f)), 1, 0, 0, 0, 0)
		got = uint32(uint16(f.revents))
	case "select":
		var sets [3]syscall.FdSet
		set := func(s *syscall.FdSet) { s.Bits[p.fd/64] |= 1 << (p.fd % 64) }
		if o.tx {
			set(&sets[1])
		} else {
			set(&sets[0])
		}
		set(&sets[2])
		var count int
		count, err := syscall.Select(p.fd+1, &sets[0], &sets[1], &sets[2], nil)
		if err != nil {
			e = err.(syscall.Errno)
		} else {
			n = uintptr(count)
			p.sync(o.tx)
		}
	case "epoll", "et":
		event := syscall.EpollEvent{Events: events, Fd: int32(p.fd)}
		if o.how == "et" {
			event.Events |= 1 << 31
		}
		if p.ep < 0 {
			var err error
			if p.ep, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err == nil {
				err = syscall.EpollCtl(p.ep, syscall.EPOLL_CTL_ADD, p.fd, &event)
			}
			if err != nil {
				failed("epoll: %v", err)
			}
		}
		var all [1]syscall.EpollEvent
		count, err := syscall.EpollWait(p.ep, all[:], -1)
		if err != nil {
			e = err.(syscall.Errno)
		} else {
			n = uintptr(count)
		}
		got = all[0].Events
	default:
		failed("no way to wait that is called %s", o.how)
	}
	if e == syscall.EINTR {
		return
	}
	if e != 0 {
		fmt.Printf("wait errno=%d\n", int(e))
		gone("errno")
	}
	if n == 0 {
		failed("nothing was ready")
	}
	if got&pollBad != 0 {
		fmt.Printf("revents=0x%x\n", got)
		gone("revents")
	}
}

var stopped atomic.Bool

// total counts packets, for whoever ends the program.
var total atomic.Uint64

func (p *port) transmit(o *options) {
	for !stopped.Load() && (o.n == 0 || total.Load() < o.n) {
		most := uint64(1 << 62)
		if o.n != 0 {
			most = o.n - total.Load()
		}
		sent := p.fill(o, most)
		total.Add(sent)
		if sent != 0 && o.how == "et" {
			p.sync(true)
		}
		p.wait(o)
	}
	for !stopped.Load() {
		p.sync(true)
		pending := false
		for r := uint32(0); r < uint32(p.reg.txRings); r++ {
			ring := at[netmapRing](p, p.ring(true, r))
			next := atomic.LoadUint32(&ring.tail) + 1
			if next == ring.numSlots {
				next = 0
			}
			pending = pending || next != ring.head
		}
		if !pending {
			break
		}
		runtime.Gosched()
	}
}

func (p *port) receive(o *options) {
	for !stopped.Load() && (o.n == 0 || p.seen.packets < o.n) {
		got := p.empty(o)
		total.Store(p.seen.packets)
		if o.n != 0 && p.seen.packets >= o.n {
			break
		}
		if got == 0 || o.how != "et" {
			p.wait(o)
		} else {
			p.sync(false)
		}
	}
}

func parse(args []string) (string, *options) {
	o := &options{id: 1, to: 0xff, batch: 64, len: shortest, how: "sync"}
	if len(args) < 3 || args[1] != "tx" && args[1] != "rx" {
		failed("arguments: tx|rx PORT [key=value...]")
	}
	o.tx = args[1] == "tx"
	for _, arg := range args[3:] {
		key, value, _ := strings.Cut(arg, "=")
		number, err := strconv.ParseUint(value, 0, 63)
		switch key {
		case "how":
			o.how, err = value, nil
		case "go":
			o.goFile, err = value, nil
		case "then":
			o.hold, err = value == "hold", nil
		case "id":
			o.id = byte(number)
		case "to":
			o.to = byte(number)
		case "n":
			o.n = number
		case "batch":
			o.batch = int(number)
		case "len":
			o.len = int(number)
		case "gapless":
			o.gapless = int(number)
		default:
			failed("no option %s", key)
		}
		if err != nil || o.len < shortest || o.len > 2048 {
			failed("%s makes no sense", arg)
		}
	}
	return args[2], o
}

func main() {
	name, o := parse(os.Args)
	p := open(name, o)
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	go func() {
		<-term
		stopped.Store(true)
		// what blocks in a system call is not told of it
		time.Sleep(100 * time.Millisecond)
		fmt.Printf("end n=%d lost=%d\n", total.Load(), p.seen.lost)
		os.Exit(0)
	}()
	fmt.Printf("ready pid=%d\n", os.Getpid())
	for o.goFile != "" {
		if _, err := os.Stat(o.goFile); err == nil {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if o.tx {
		p.transmit(o)
	} else {
		p.receive(o)
	}
	if stopped.Load() {
		time.Sleep(time.Hour)
	}
	fmt.Printf("end n=%d lost=%d\n", total.Load(), p.seen.lost)
	for o.hold {
		time.Sleep(time.Hour)
	}
}
