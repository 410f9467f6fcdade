/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netmap for programs: from offsets to pointers, and with NETMAP_WITH_LIBS defined a small
 * library in the style of pcap (nm_open, nm_inject, nm_dispatch, nm_nextpkt, nm_close).
 *
 * By hand it goes like this:
 *
 *	struct nmreq req = { .nr_version = NETMAP_API, .nr_flags = NR_REG_ALL_NIC };
 *	strcpy(req.nr_name, "vale0:a");
 *	fd = open(NETMAP_DEVICE_NAME, O_RDWR);
 *	ioctl(fd, NIOCREGIF, &req);
 *	mem = mmap(0, req.nr_memsize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
 *	nifp = NETMAP_IF(mem, req.nr_offset);
 *	ring = NETMAP_RXRING(nifp, 0);
 *	for (; !nm_ring_empty(ring); ring->head = ring->cur = nm_ring_next(ring, ring->cur))
 *		use(NETMAP_BUF(ring, ring->slot[ring->cur].buf_idx), ring->slot[ring->cur].len);
 *	ioctl(fd, NIOCRXSYNC);
 */
#ifndef _NET_NETMAP_USER_H_
#define _NET_NETMAP_USER_H_

#include <ctype.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <net/netmap.h>

#define NETMAP_DEVICE_NAME "/dev/netmap"

#ifndef likely
#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)
#endif

/* ---------------------------------------------------------------- addresses */

#define _NETMAP_OFFSET(type, ptr, offset)	((type)(void *)((char *)(ptr) + (offset)))

#define NETMAP_IF(_base, _ofs)	_NETMAP_OFFSET(struct netmap_if *, _base, _ofs)

/* Rings by number; host rings are numbered after the others. */
#define NETMAP_TXRING(nifp, index)	\
	_NETMAP_OFFSET(struct netmap_ring *, nifp, (nifp)->ring_ofs[index])
#define NETMAP_RXRING(nifp, index)	\
	NETMAP_TXRING(nifp, (nifp)->ni_tx_rings + (nifp)->ni_host_tx_rings + (index))

/* Buffers by number, and back. Any ring of the region will do. */
#define NETMAP_BUF(ring, index)	\
	((char *)(ring) + (ring)->buf_ofs + (size_t)(ring)->nr_buf_size * (index))
#define NETMAP_BUF_IDX(ring, buf)	\
	(((char *)(buf) - NETMAP_BUF(ring, 0)) / (ring)->nr_buf_size)

/* With the OFFSETS option: get and set the offset of a slot, find its packet. */
#define NETMAP_ROFFSET(ring, slot)	((ring)->offset_mask & (slot)->ptr)
#define NETMAP_WOFFSET(ring, slot, offset)	do {		\
	(slot)->ptr &= ~(ring)->offset_mask;			\
	(slot)->ptr |= (ring)->offset_mask & (offset);		\
} while (0)
#define NETMAP_BUF_OFFSET(ring, slot)	\
	(NETMAP_ROFFSET(ring, slot) + NETMAP_BUF(ring, (slot)->buf_idx))

/* ---------------------------------------------------------------- indices */

/* The slot after i. */
static inline uint32_t
nm_ring_next(struct netmap_ring *r, uint32_t i)
{
	uint32_t next = i + 1;

	return unlikely(next == r->num_slots) ? 0 : next;
}

/* Whether netmap still has packets of a tx ring. An idle one leaves a single slot to netmap. */
static inline int
nm_tx_pending(struct netmap_ring *r)
{
	return r->head != nm_ring_next(r, r->tail);
}

/* How many slots the program owns. */
static inline uint32_t
nm_ring_space(struct netmap_ring *ring)
{
	uint32_t head = ring->head, tail = ring->tail;

	return tail >= head ? tail - head : tail - head + ring->num_slots;
}

/* Copies l bytes. Callers have room for the next multiple of 64, which we do not need. */
static inline void
nm_pkt_copy(const void *_src, void *_dst, int l)
{
	if (likely(l > 0))
		memcpy(_dst, _src, (size_t)l);
}

/* ---------------------------------------------------------------- messages */

/*
 * D(format, ...) prints a line to stderr with time, function and line number; RD(n, format, ...)
 * does so up to n times a second; ND(format, ...) does not. Programs that define ND have all
 * three of their own.
 */
#ifndef ND
#define ND(...)	do { } while (0)
#define D(...)	nm_print_(__func__, __LINE__, __VA_ARGS__)
#define RD(lps, ...)	do {						\
	static long nm_rd_second_;					\
	static int nm_rd_count_;					\
	struct timeval nm_rd_now_;					\
									\
	gettimeofday(&nm_rd_now_, NULL);				\
	if (nm_rd_second_ != (long)nm_rd_now_.tv_sec) {			\
		nm_rd_second_ = (long)nm_rd_now_.tv_sec;		\
		nm_rd_count_ = 0;					\
	}								\
	if (nm_rd_count_++ < (lps))					\
		D(__VA_ARGS__);						\
} while (0)
#endif

static void nm_print_(const char *func, int line, const char *format, ...)
	__attribute__((__unused__, __format__(__printf__, 3, 4)));

static void
nm_print_(const char *func, int line, const char *format, ...)
{
	struct timeval now;
	va_list args;

	gettimeofday(&now, NULL);
	fprintf(stderr, "%03d.%06d %s [%d] ", (int)(now.tv_sec % 1000), (int)now.tv_usec, func,
	    line);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

#endif /* _NET_NETMAP_USER_H_ */

/* The library, even when this file was included before without NETMAP_WITH_LIBS. */
#if defined(NETMAP_WITH_LIBS) && !defined(HAVE_NETMAP_WITH_LIBS)
#define HAVE_NETMAP_WITH_LIBS
#include "netmap_user_lib.h"
#endif
