/*
 * System calls that the program makes itself, past the C library.
 */
#ifndef RAW_H
#define RAW_H

#include <sys/syscall.h>

#include "../robust/robust.h"

/* A value, or -errno. */
static inline long raw6(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result) : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#else
#error "which instruction calls the system?"
#endif
}

#define RAW(nr, a, b, c, d, e, f) raw6(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
#define RAW3(nr, a, b, c) RAW(nr, a, b, c, 0, 0, 0)

static inline int raw_open(void)
{
	return (int)RAW(SYS_openat, AT_FDCWD, "/dev/netmap", O_RDWR, 0, 0, 0);
}

static inline long raw_ioctl(int fd, unsigned long request, void *arg)
{
	return RAW3(SYS_ioctl, fd, request, arg);
}

static inline long raw_poll(struct pollfd *fds, unsigned n, const struct timespec *timeout, const uint64_t *mask)
{
	return RAW(SYS_ppoll, fds, n, timeout, mask, sizeof *mask, 0);
}

/* A port, by system calls of our own alone. */
static UNUSED struct port raw_port(const char *name)
{
	struct nmreq_header header;
	struct port p;

	memset(&p, 0, sizeof p);
	memset(&header, 0, sizeof header);
	p.fd = raw_open();
	CHECK(p.fd >= 0);
	p.reg.nr_mode = NR_REG_ALL_NIC;
	header.nr_version = NETMAP_API;
	header.nr_reqtype = NETMAP_REQ_REGISTER;
	strncpy(header.nr_name, name, sizeof header.nr_name - 1);
	header.nr_body = (uintptr_t)&p.reg;
	CHECK(raw_ioctl(p.fd, NIOCCTRL, &header) == 0);
	p.size = p.reg.nr_memsize;
	p.mem = (char *)RAW(SYS_mmap, 0, p.size, PROT_READ | PROT_WRITE, MAP_SHARED, p.fd, 0);
	CHECK((long)p.mem > 0);
	p.nif = NETMAP_IF(p.mem, p.reg.nr_offset);
	return p;
}

static UNUSED void raw_close_port(struct port *p)
{
	CHECK(RAW3(SYS_munmap, p->mem, p->size, 0) == 0);
	CHECK(RAW3(SYS_close, p->fd, 0, 0) == 0);
}

/* The file behind `fd` is a port's still: a sync works, by both ways. */
static UNUSED void check_port(int fd)
{
	CHECK(raw_ioctl(fd, NIOCTXSYNC, NULL) == 0);
	CHECK(ioctl(fd, NIOCRXSYNC, NULL) == 0);
}

/* How many mappings the process has. */
static UNUSED unsigned lines_of_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned n = 0;

	for (int c; (c = getc(maps)) != EOF;)
		n += c == '\n';
	fclose(maps);
	return n;
}

#endif
