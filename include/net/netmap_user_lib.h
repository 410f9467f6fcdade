/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The library part of net/netmap_user.h. Define NETMAP_WITH_LIBS and include that, not this file.
 */
#ifndef _NET_NETMAP_USER_LIB_H_
#define _NET_NETMAP_USER_LIB_H_

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

/* These functions live in the program. It need not use all of them. */
#define NM_LIB_	static __attribute__((__unused__))

struct nm_desc;

/* What is known of a received packet. Starts like struct pcap_pkthdr. */
struct nm_pkthdr {
	struct timeval ts;
	uint32_t caplen;	/* bytes from buf on */
	uint32_t len;		/* bytes of the packet; more than caplen when its slots are not
				 * neighbours in memory */
	uint64_t flags;
#define NM_MORE_PKTS	1	/* the callback will be called again */
	struct nm_desc *d;
	struct netmap_slot *slot;	/* the last one of the packet */
	uint8_t *buf;
};

/* Like struct pcap_stat. */
struct nm_stat {
	unsigned int ps_recv;
	unsigned int ps_drop;
	unsigned int ps_ifdrop;
};

#define NM_ERRBUF_SIZE	512

/* An open port. */
struct nm_desc {
	struct nm_desc *self;		/* this descriptor, if it is one */
	int fd;
	void *mem;
	size_t memsize;
	int done_mmap;			/* mem is a mapping of our own */
	struct netmap_if * const nifp;
	uint16_t first_tx_ring, last_tx_ring, cur_tx_ring;
	uint16_t first_rx_ring, last_rx_ring, cur_rx_ring;
	struct nmreq req;		/* as netmap answered it */
	struct nm_pkthdr hdr;		/* for nm_dispatch */

	struct netmap_ring * const some_ring;	/* for NETMAP_BUF */
	void * const buf_start;		/* of the buffers, and the end of the region */
	void * const buf_end;

	/* for the program; pcap has such parameters */
	int snaplen;
	int promisc;
	int to_ms;
	char *errbuf;
	uint32_t if_flags;
	uint32_t if_reqcap;
	uint32_t if_curcap;
	struct nm_stat st;
	char msg[NM_ERRBUF_SIZE];
};

#define P2NMD(p)		((const struct nm_desc *)(p))
#define IS_NETMAP_DESC(d)	((d) && P2NMD(d)->self == P2NMD(d))
#define NETMAP_FD(d)		(P2NMD(d)->fd)

/* Receives a packet: the argument of nm_dispatch, what is known, the bytes. */
typedef void (*nm_cb_t)(unsigned char *, const struct nm_pkthdr *, const unsigned char *);

/* Flags of nm_open, besides NETMAP_NO_TX_POLL and NETMAP_DO_RX_POLL: what to take from arg. */
enum {
	NM_OPEN_NO_MMAP = 0x040000,	/* do not map, unless arg is given */
	NM_OPEN_IFNAME = 0x080000,	/* nr_name, nr_ringid, nr_flags; ifname is not parsed */
	NM_OPEN_ARG1 = 0x100000,
	NM_OPEN_ARG2 = 0x200000,
	NM_OPEN_ARG3 = 0x400000,
	NM_OPEN_RING_CFG = 0x800000	/* numbers of rings and slots */
};

#define MAXERRMSG 80	/* bytes of nm_parse's message */

/*
 * Opens a port, binds it and maps its region:
 *
 *	netmap:NAME or valeX:NAME, then
 *	^ host rings	* NIC and host rings	-N one ring pair	{N }N ends of pipe N
 *	/ and flags:	x exclusive		R rx only		T tx only
 *			t monitor tx		r monitor rx		z monitor without copying
 *	@N		memory region N
 *
 * req preset fields of the request. arg is an open port whose region is shared, if it turns out to
 * be the same, and from which flags take more. Returns NULL on errors, with errno 0 if the name
 * is neither netmap: nor vale.
 */
NM_LIB_ struct nm_desc *nm_open(const char *ifname, const struct nmreq *req, uint64_t flags,
    const struct nm_desc *arg);

/* Ends a port and frees the descriptor. Returns 0 or EINVAL. */
NM_LIB_ int nm_close(struct nm_desc *);

/* Maps the region, or takes over that of parent if it is the same. Returns 0 or EINVAL. */
NM_LIB_ int nm_mmap(struct nm_desc *, const struct nm_desc *parent);

/* Puts a packet into a tx ring; a sync sends it. Returns the size, or 0 if there is no room. */
NM_LIB_ int nm_inject(struct nm_desc *, const void *, size_t);

/* Calls back for up to cnt (0 or -1: all) packets in the rx rings. Returns their number. */
NM_LIB_ int nm_dispatch(struct nm_desc *, int cnt, nm_cb_t, unsigned char *arg);

/* The next received slot, valid until the next sync, or NULL. */
NM_LIB_ unsigned char *nm_nextpkt(struct nm_desc *, struct nm_pkthdr *);

#include "netmap_user_name.h"	/* nm_parse */

/* Takes from parent what flags ask for. */
NM_LIB_ void
nm_open_import_(struct nmreq *req, const struct nmreq *parent, uint64_t flags)
{
	req->nr_arg1 = flags & NM_OPEN_ARG1 ? parent->nr_arg1 : 4;
	req->nr_arg3 = flags & NM_OPEN_ARG3 ? parent->nr_arg3 : 0;
	if (flags & NM_OPEN_ARG2)
		req->nr_arg2 = parent->nr_arg2;
	if (flags & NM_OPEN_RING_CFG) {
		req->nr_tx_slots = parent->nr_tx_slots;
		req->nr_rx_slots = parent->nr_rx_slots;
		req->nr_tx_rings = parent->nr_tx_rings;
		req->nr_rx_rings = parent->nr_rx_rings;
	}
	if (flags & NM_OPEN_IFNAME) {
		memcpy(req->nr_name, parent->nr_name, sizeof(req->nr_name));
		req->nr_ringid = parent->nr_ringid;
		req->nr_flags = parent->nr_flags;
	}
}

/* Finds out which rings the request has bound. Pipes have ring 0. */
NM_LIB_ void
nm_open_rings_(struct nm_desc *d)
{
	uint16_t tx = d->req.nr_tx_rings, rx = d->req.nr_rx_rings;
	uint16_t one = d->req.nr_ringid & NETMAP_RING_MASK;

	d->first_tx_ring = d->last_tx_ring = 0;
	d->first_rx_ring = d->last_rx_ring = 0;
	switch (d->req.nr_flags & NR_REG_MASK) {
	case NR_REG_SW:
		d->first_tx_ring = d->last_tx_ring = tx;
		d->first_rx_ring = d->last_rx_ring = rx;
		break;
	case NR_REG_ALL_NIC:
		d->last_tx_ring = (uint16_t)(tx - 1);
		d->last_rx_ring = (uint16_t)(rx - 1);
		break;
	case NR_REG_NIC_SW:
		d->last_tx_ring = tx;
		d->last_rx_ring = rx;
		break;
	case NR_REG_ONE_NIC:
		d->first_tx_ring = d->last_tx_ring = one;
		d->first_rx_ring = d->last_rx_ring = one;
		break;
	default:
		break;
	}
	d->cur_tx_ring = d->first_tx_ring;
	d->cur_rx_ring = d->first_rx_ring;
}

/* Does nm_open's work on a fresh descriptor. Returns 0, or -1 with errno and a reason. */
NM_LIB_ int
nm_open_desc_(struct nm_desc *d, const char *ifname, uint64_t flags, const struct nm_desc *parent,
    char *why)
{
	d->fd = open(NETMAP_DEVICE_NAME, O_RDWR);
	if (d->fd < 0) {
		snprintf(why, MAXERRMSG, "open of %s: %s", NETMAP_DEVICE_NAME, strerror(errno));
		return -1;
	}
	if (!(flags & NM_OPEN_IFNAME) && nm_parse(ifname, d, why) < 0)
		return -1;

	d->req.nr_version = NETMAP_API;
	d->req.nr_ringid &= NETMAP_RING_MASK;
	if (IS_NETMAP_DESC(parent) && flags != 0)
		nm_open_import_(&d->req, &parent->req, flags);
	d->req.nr_ringid |= (uint16_t)(flags & (NETMAP_NO_TX_POLL | NETMAP_DO_RX_POLL));

	if (ioctl(d->fd, NIOCREGIF, &d->req)) {
		snprintf(why, MAXERRMSG, "NIOCREGIF: %s", strerror(errno));
		return -1;
	}
	nm_open_rings_(d);
	if ((!(flags & NM_OPEN_NO_MMAP) || parent != NULL) && nm_mmap(d, parent) != 0) {
		snprintf(why, MAXERRMSG, "mmap: %s", strerror(errno));
		return -1;
	}
	return 0;
}

NM_LIB_ struct nm_desc *
nm_open(const char *ifname, const struct nmreq *req, uint64_t flags, const struct nm_desc *arg)
{
	char why[MAXERRMSG] = "";
	struct nm_desc *d;
	int error;

	if (strncmp(ifname, "netmap:", 7) != 0 &&
	    strncmp(ifname, NM_BDG_NAME, strlen(NM_BDG_NAME)) != 0) {
		errno = 0;
		return NULL;
	}
	d = (struct nm_desc *)calloc(1, sizeof(*d));
	if (d == NULL)
		return NULL;
	d->self = d;
	if (req != NULL)
		d->req = *req;

	if (nm_open_desc_(d, ifname, flags, arg, why) == 0)
		return d;
	error = errno != 0 ? errno : EINVAL;
	nm_close(d);
	D("%s: %s", ifname, why);
	errno = error;
	return NULL;
}

NM_LIB_ int
nm_close(struct nm_desc *d)
{
	if (!IS_NETMAP_DESC(d))
		return EINVAL;
	if (d->done_mmap && d->mem != NULL)
		munmap(d->mem, d->memsize);
	if (d->fd != -1)
		close(d->fd);
	d->self = NULL;
	free(d);
	return 0;
}

NM_LIB_ int
nm_mmap(struct nm_desc *d, const struct nm_desc *parent)
{
	struct netmap_if *nifp;
	struct netmap_ring *ring;

	if (d->done_mmap)
		return 0;
	if (IS_NETMAP_DESC(parent) && parent->mem != NULL &&
	    parent->req.nr_arg2 == d->req.nr_arg2) {
		d->memsize = parent->memsize;
		d->mem = parent->mem;
	} else {
		d->memsize = d->req.nr_memsize;
		d->mem = mmap(NULL, d->memsize, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd, 0);
		if (d->mem == MAP_FAILED)
			return EINVAL;
		d->done_mmap = 1;
	}

	/* a descriptor for one direction has no offsets for the other */
	nifp = NETMAP_IF(d->mem, d->req.nr_offset);
	ring = NETMAP_RXRING(nifp, d->first_rx_ring);
	if ((void *)ring == (void *)nifp)
		ring = NETMAP_TXRING(nifp, d->first_tx_ring);

	/* the program may not write these, we must */
	*(struct netmap_if **)(uintptr_t)&d->nifp = nifp;
	*(struct netmap_ring **)(uintptr_t)&d->some_ring = ring;
	*(void **)(uintptr_t)&d->buf_start = NETMAP_BUF(ring, 0);
	*(void **)(uintptr_t)&d->buf_end = (char *)d->mem + d->memsize;
	return 0;
}

/* Puts a packet into a ring, in as many slots as it takes. Returns 0 if there is no room. */
NM_LIB_ int
nm_inject_ring_(struct netmap_ring *ring, const void *data, size_t size)
{
	const char *from = (const char *)data;
	const size_t most = ring->nr_buf_size;
	const size_t slots = size == 0 ? 1 : (size - 1) / most + 1;
	uint32_t i = ring->cur, tail = ring->tail;
	uint32_t space = tail >= i ? tail - i : tail - i + ring->num_slots;
	struct netmap_slot *slot;

	if (slots > space)
		return 0;
	for (;;) {
		slot = &ring->slot[i];
		i = nm_ring_next(ring, i);
		slot->len = (uint16_t)(size < most ? size : most);
		slot->flags = size > most ? NS_MOREFRAG : 0;
		nm_pkt_copy(from, NETMAP_BUF(ring, slot->buf_idx), slot->len);
		if (size <= most)
			break;
		from += most;
		size -= most;
	}
	ring->head = ring->cur = i;
	return 1;
}

NM_LIB_ int
nm_inject(struct nm_desc *d, const void *buf, size_t size)
{
	unsigned int n = d->last_tx_ring - d->first_tx_ring + 1u;
	unsigned int ri = d->cur_tx_ring;

	for (; n > 0; n--, ri++) {
		if (ri > d->last_tx_ring)
			ri = d->first_tx_ring;
		if (nm_inject_ring_(NETMAP_TXRING(d->nifp, ri), buf, size)) {
			d->cur_tx_ring = (uint16_t)ri;
			return (int)size;
		}
	}
	return 0;
}

/*
 * Describes the packet at ring->cur in hdr and gives its slots back. Slots whose buffers follow
 * one another without a gap make one piece.
 */
NM_LIB_ void
nm_dispatch_take_(struct netmap_ring *ring, struct nm_pkthdr *hdr)
{
	uint32_t i = ring->cur, tail = ring->tail;
	struct netmap_slot *slot = &ring->slot[i];
	uint8_t *buf = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx), *next;
	int whole = 1;

	hdr->ts = ring->ts;
	hdr->buf = buf;
	hdr->len = hdr->caplen = slot->len;
	for (i = nm_ring_next(ring, i); (slot->flags & NS_MOREFRAG) && i != tail;
	    i = nm_ring_next(ring, i)) {
		whole = whole && slot->len == ring->nr_buf_size;
		slot = &ring->slot[i];
		next = (uint8_t *)NETMAP_BUF(ring, slot->buf_idx);
		whole = whole && next == buf + ring->nr_buf_size;
		buf = next;
		hdr->len += slot->len;
		if (whole)
			hdr->caplen += slot->len;
	}
	hdr->slot = slot;
	ring->head = ring->cur = i;
}

NM_LIB_ int
nm_dispatch(struct nm_desc *d, int cnt, nm_cb_t cb, unsigned char *arg)
{
	unsigned int n = d->last_rx_ring - d->first_rx_ring + 1u;
	unsigned int ri = d->cur_rx_ring;
	int got = 0;

	if (cnt == 0)
		cnt = -1;
	d->hdr.d = d;
	d->hdr.buf = NULL;
	d->hdr.flags = NM_MORE_PKTS;
	for (; n > 0 && got != cnt; n--, ri++) {
		struct netmap_ring *ring;

		if (ri > d->last_rx_ring)
			ri = d->first_rx_ring;
		ring = NETMAP_RXRING(d->nifp, ri);
		for (; !nm_ring_empty(ring) && got != cnt; got++) {
			/* a packet is delivered when it is known whether more follow */
			if (d->hdr.buf != NULL)
				cb(arg, &d->hdr, d->hdr.buf);
			d->cur_rx_ring = (uint16_t)ri;
			nm_dispatch_take_(ring, &d->hdr);
		}
	}
	if (d->hdr.buf != NULL) {
		d->hdr.flags = 0;
		cb(arg, &d->hdr, d->hdr.buf);
	}
	return got;
}

NM_LIB_ unsigned char *
nm_nextpkt(struct nm_desc *d, struct nm_pkthdr *hdr)
{
	uint16_t ri = d->cur_rx_ring;

	do {
		struct netmap_ring *ring = NETMAP_RXRING(d->nifp, ri);

		if (!nm_ring_empty(ring)) {
			struct netmap_slot *slot = &ring->slot[ring->cur];

			hdr->ts = ring->ts;
			hdr->len = hdr->caplen = slot->len;
			ring->head = ring->cur = nm_ring_next(ring, ring->cur);
			d->cur_rx_ring = ri;
			return (unsigned char *)NETMAP_BUF(ring, slot->buf_idx);
		}
		ri = ri >= d->last_rx_ring ? d->first_rx_ring : (uint16_t)(ri + 1);
	} while (ri != d->cur_rx_ring);
	return NULL;
}

#endif /* _NET_NETMAP_USER_LIB_H_ */
