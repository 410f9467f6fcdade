/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netmap API 14: what a program and netmap say to each other.
 *
 *	fd = open("/dev/netmap", O_RDWR);
 *	ioctl(fd, NIOCCTRL, &header);		bind a port, see struct nmreq_header
 *	mmap(..., MAP_SHARED, fd, 0);		the region: netmap_if, rings and buffers
 *	ioctl(fd, NIOCTXSYNC); poll(...); ...	move packets
 *
 * The region holds offsets and indices, no pointers; net/netmap_user.h turns them into pointers.
 * In the remarks on fields, "in" and "out" are as seen by netmap, "user" marks what a program
 * writes while a port is open. Everything else is to be read only.
 *
 * This header needs no other one before it and no feature test macro.
 */
#ifndef _NET_NETMAP_H_
#define _NET_NETMAP_H_

#include <stdint.h>
#include <sys/ioctl.h>	/* _IO, _IOWR */
#include <sys/time.h>	/* struct timeval */
#include <sys/types.h>	/* ssize_t */

#define NETMAP_API	14	/* described here */
#define NETMAP_MIN_API	14	/* accepted in nr_version */
#define NETMAP_MAX_API	15

#define NM_CACHE_ALIGN	128	/* distance between fields written by different sides */

/* Linux's IFNAMSIZ, which only some headers define, and not in every mode of the compiler. */
#define NM_IFNAMSIZ_	16

/* ---------------------------------------------------------------- slots */

/* One descriptor of a ring: a buffer and what to do with it. */
struct netmap_slot {
	uint32_t buf_idx;	/* user: index of the buffer */
	uint16_t len;		/* user: bytes of packet in it */
	uint16_t flags;		/* user: NS_* */
	uint64_t ptr;		/* user: address (NS_INDIRECT) or offset (OFFSETS option) */
};

#define NS_BUF_CHANGED	0x0001	/* buf_idx is not the one it was */
#define NS_REPORT	0x0002	/* tell soon when this slot is done */
#define NS_FORWARD	0x0004	/* rx, ring has NR_FORWARD: give the packet to the peer ring */
#define NS_NO_LEARN	0x0008	/* defined, not obeyed */
#define NS_INDIRECT	0x0010	/* VALE tx: the data is at the address in ptr */
#define NS_MOREFRAG	0x0020	/* the packet goes on in the next slot */
#define NS_TXMON	0x0040	/* monitors: the packet was sent, not received */

#define NS_PORT_SHIFT	8
#define NS_PORT_MASK	(0xff << NS_PORT_SHIFT)	/* defined, not obeyed on tx */

/* VALE rx: of how many slots the packet that starts here consists. */
#define NS_RFRAGS(_slot)	(((_slot)->flags >> NS_PORT_SHIFT) & 0xff)

#define NETMAP_MAX_FRAGS	64	/* slots per packet */

/* ---------------------------------------------------------------- rings */

/*
 * A ring. The slots from head up to, not including, tail belong to the program (tx: free, rx:
 * full), the others to netmap. The program moves head and cur forward and then syncs; poll sleeps
 * until tail has passed cur.
 */
struct netmap_ring {
	const int64_t buf_ofs;		/* from here to buffer 0, bytes */
	const uint32_t num_slots;
	const uint32_t nr_buf_size;	/* bytes per buffer */
	const uint16_t ringid;
	const uint16_t dir;		/* of the ring; kernels store 1 for tx, 0 for rx */

	uint32_t head;			/* user: first slot of the program */
	uint32_t cur;			/* user: where to wake up */
	uint32_t tail;			/* first slot of netmap */

	uint32_t flags;			/* user: NR_TIMESTAMP, NR_FORWARD */

	struct timeval ts;		/* of the last sync */

	const uint64_t offset_mask;	/* bits of slot.ptr that are an offset */
	const uint64_t buf_align;	/* packets start at multiples of this */

	uint8_t __attribute__((__aligned__(NM_CACHE_ALIGN))) sem[128];	/* for the program */

	struct netmap_slot slot[];	/* num_slots of them */
};

#define NR_TIMESTAMP	0x0002	/* store the time in ts at each sync */
#define NR_FORWARD	0x0004	/* obey NS_FORWARD */

/* Whether the program owns no slot. */
static inline int
nm_ring_empty(struct netmap_ring *ring)
{
	return ring->tail == ring->head;
}

/* ---------------------------------------------------------------- ports */

/* A bound port as its file descriptor sees it. */
struct netmap_if {
	char ni_name[NM_IFNAMSIZ_];
	const uint32_t ni_version;
	const uint32_t ni_flags;
#define NI_PRIV_MEM	0x1	/* the region is not the global one */

	const uint32_t ni_tx_rings;	/* without host rings */
	const uint32_t ni_rx_rings;

	uint32_t ni_bufs_head;		/* user: first extra buffer; each one's first word is
					 * the index of the next, 0 ends the list */
	const uint32_t ni_host_tx_rings;
	const uint32_t ni_host_rx_rings;
	uint32_t ni_spare1[3];

	/* From this structure to the rings, bytes: tx, host tx, rx, host rx. 0: not accessible. */
	const ssize_t ring_ofs[];
};

#include "netmap_legacy.h"	/* NIOCREGIF, NIOCGINFO and struct nmreq */

/* ---------------------------------------------------------------- requests */

#define NETMAP_REQ_MAXSIZE	4096	/* bytes of a request with all its options */

/* Starts every option. */
struct nmreq_option {
	uint64_t nro_next;	/* in: address of the next option or 0 */
	uint32_t nro_reqtype;	/* in: NETMAP_REQ_OPT_* */
	uint32_t nro_status;	/* out: 0 if obeyed, else an errno */
	uint64_t nro_size;	/* in: bytes, for options that end in an array; else 0 */
};

/* Argument of NIOCCTRL. */
struct nmreq_header {
	uint16_t nr_version;	/* in, out */
	uint16_t nr_reqtype;	/* in: NETMAP_REQ_* */
	uint32_t nr_reserved;	/* in: 0 */
#define NETMAP_REQ_IFNAMSIZ	64
	char nr_name[NETMAP_REQ_IFNAMSIZ];	/* in: port */
	uint64_t nr_options;	/* in: address of the first option or 0 */
	uint64_t nr_body;	/* in: address of the structure that belongs to nr_reqtype */
};

/* Request types, with their bodies. */
enum {
	NETMAP_REQ_REGISTER = 1,		/* nmreq_register: bind a port */
	NETMAP_REQ_PORT_INFO_GET = 2,		/* nmreq_port_info_get */
	NETMAP_REQ_VALE_ATTACH = 3,		/* nmreq_vale_attach: port to switch */
	NETMAP_REQ_VALE_DETACH = 4,		/* nmreq_vale_detach */
	NETMAP_REQ_VALE_LIST = 5,		/* nmreq_vale_list: walk switches and ports */
	NETMAP_REQ_PORT_HDR_SET = 6,		/* nmreq_port_hdr: virtio-net header length */
	NETMAP_REQ_PORT_HDR_GET = 7,		/* nmreq_port_hdr */
	NETMAP_REQ_VALE_NEWIF = 8,		/* nmreq_vale_newif: new persistent port */
	NETMAP_REQ_VALE_DELIF = 9,		/* no body */
	NETMAP_REQ_VALE_POLLING_ENABLE = 10,	/* nmreq_vale_polling */
	NETMAP_REQ_VALE_POLLING_DISABLE = 11,	/* nmreq_vale_polling */
	NETMAP_REQ_POOLS_INFO_GET = 12,		/* nmreq_pools_info */
	NETMAP_REQ_SYNC_KLOOP_START = 13,	/* nmreq_sync_kloop_start: sync in this call */
	NETMAP_REQ_SYNC_KLOOP_STOP = 14,	/* no body */
	NETMAP_REQ_CSB_ENABLE = 15		/* no body, but the CSB option */
};

/* Option types, with the requests that know them. */
enum {
	NETMAP_REQ_OPT_EXTMEM = 1,		/* REGISTER: the program's own memory */
	NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS = 2,	/* SYNC_KLOOP_START: notify by eventfd */
	NETMAP_REQ_OPT_CSB = 3,			/* REGISTER, CSB_ENABLE: ring pointers go
						 * through nm_csb_atok and nm_csb_ktoa */
	NETMAP_REQ_OPT_SYNC_KLOOP_MODE = 4,	/* SYNC_KLOOP_START: sync in the notifier */
	NETMAP_REQ_OPT_OFFSETS = 5,		/* REGISTER: packets start inside buffers */
	NETMAP_REQ_OPT_MAX = 6			/* one more than the last */
};

/* NETMAP_REQ_REGISTER. Numbers of 0 leave the choice to netmap. */
struct nmreq_register {
	uint64_t nr_offset;	/* out: netmap_if in the region, bytes */
	uint64_t nr_memsize;	/* out: region, bytes */
	uint32_t nr_tx_slots;	/* in, out: per ring */
	uint32_t nr_rx_slots;
	uint16_t nr_tx_rings;	/* in, out */
	uint16_t nr_rx_rings;
	uint16_t nr_host_tx_rings;
	uint16_t nr_host_rx_rings;

	uint16_t nr_mem_id;	/* in, out: region; 1 is the global one */
	uint16_t nr_ringid;	/* in: which, with NR_REG_ONE_NIC and NR_REG_ONE_SW */
	uint32_t nr_mode;	/* in: NR_REG_* */
	uint32_t nr_extra_bufs;	/* in, out: buffers in no ring */

	uint64_t nr_flags;	/* in: those that follow */
#define NR_MONITOR_TX		0x100	/* see what the port's tx rings send */
#define NR_MONITOR_RX		0x200	/* see what its rx rings receive */
#define NR_ZCOPY_MON		0x400	/* monitor without copying */
#define NR_EXCLUSIVE		0x800	/* nobody else gets these rings */
#define NR_RX_RINGS_ONLY	0x2000
#define NR_TX_RINGS_ONLY	0x4000
#define NR_ACCEPT_VNET_HDR	0x8000	/* the program knows virtio-net headers */
#define NR_DO_RX_POLL		0x10000	/* poll receives even without POLLIN */
#define NR_NO_TX_POLL		0x20000	/* poll sends only with POLLOUT */
};

/* nr_mode */
enum {
	NR_REG_DEFAULT = 0,	/* legacy requests: look at nr_ringid */
	NR_REG_ALL_NIC = 1,
	NR_REG_SW = 2,		/* host rings */
	NR_REG_NIC_SW = 3,
	NR_REG_ONE_NIC = 4,
	NR_REG_PIPE_MASTER = 5,	/* legacy requests; today "port{id" */
	NR_REG_PIPE_SLAVE = 6,	/* legacy requests; today "port}id" */
	NR_REG_NULL = 7,	/* memory without a port */
	NR_REG_ONE_SW = 8
};

#define NIOCCTRL	_IOWR('i', 151, struct nmreq_header)	/* all requests */
#define NIOCTXSYNC	_IO('i', 148)	/* send what is in the bound tx rings */
#define NIOCRXSYNC	_IO('i', 149)	/* receive into the bound rx rings */

/* NETMAP_REQ_PORT_INFO_GET; fields as in nmreq_register. */
struct nmreq_port_info_get {
	uint64_t nr_memsize;
	uint32_t nr_tx_slots;
	uint32_t nr_rx_slots;
	uint16_t nr_tx_rings;
	uint16_t nr_rx_rings;
	uint16_t nr_host_tx_rings;
	uint16_t nr_host_rx_rings;
	uint16_t nr_mem_id;
	uint16_t pad[3];
};

#define NM_BDG_NAME	"vale"	/* names of switches start with it */

/* NETMAP_REQ_VALE_ATTACH; nr_name is "valeX:port". */
struct nmreq_vale_attach {
	struct nmreq_register reg;
	uint32_t port_index;	/* out: in the switch */
	uint32_t pad1;
};

/* NETMAP_REQ_VALE_DETACH */
struct nmreq_vale_detach {
	uint32_t port_index;	/* out: in the switch, before */
	uint32_t pad1;
};

/*
 * NETMAP_REQ_VALE_LIST. With a name: its indices. Without: name and indices of the first port
 * that is not before the given indices.
 */
struct nmreq_vale_list {
	uint16_t nr_bridge_idx;	/* in, out */
	uint16_t pad1;
	uint32_t nr_port_idx;	/* in, out */
};

/* NETMAP_REQ_PORT_HDR_SET, NETMAP_REQ_PORT_HDR_GET */
struct nmreq_port_hdr {
	uint32_t nr_hdr_len;	/* in or out: 0, 10 or 12 bytes */
	uint32_t pad1;
};

/* NETMAP_REQ_VALE_NEWIF; fields as in nmreq_register. */
struct nmreq_vale_newif {
	uint32_t nr_tx_slots;
	uint32_t nr_rx_slots;
	uint16_t nr_tx_rings;
	uint16_t nr_rx_rings;
	uint16_t nr_mem_id;
	uint16_t pad1;
};

/* NETMAP_REQ_VALE_POLLING_ENABLE, NETMAP_REQ_VALE_POLLING_DISABLE */
struct nmreq_vale_polling {
	uint32_t nr_mode;
#define NETMAP_POLLING_MODE_SINGLE_CPU	1	/* one processor for all rings */
#define NETMAP_POLLING_MODE_MULTI_CPU	2	/* one for each */
	uint32_t nr_first_cpu_id;
	uint32_t nr_num_polling_cpus;
	uint32_t pad1;
};

/* NETMAP_REQ_POOLS_INFO_GET; offsets in the region and sizes in bytes. */
struct nmreq_pools_info {
	uint64_t nr_memsize;
	uint16_t nr_mem_id;	/* in, out */
	uint16_t pad1[3];
	uint64_t nr_if_pool_offset;
	uint32_t nr_if_pool_objtotal;
	uint32_t nr_if_pool_objsize;
	uint64_t nr_ring_pool_offset;
	uint32_t nr_ring_pool_objtotal;
	uint32_t nr_ring_pool_objsize;
	uint64_t nr_buf_pool_offset;
	uint32_t nr_buf_pool_objtotal;
	uint32_t nr_buf_pool_objsize;
};

/* NETMAP_REQ_SYNC_KLOOP_START; the port must be in CSB mode. */
struct nmreq_sync_kloop_start {
	uint32_t sleep_us;	/* in: when there is nothing to do */
	uint32_t pad1;
};

/* ---------------------------------------------------------------- CSB */

/* Ring pointers from the program to the loop. */
struct nm_csb_atok {
	uint32_t head;
	uint32_t cur;
	uint32_t appl_need_kick;	/* the program wants to be notified */
	uint32_t sync_flags;
	uint32_t pad[12];
};

/* Ring pointers from the loop to the program. */
struct nm_csb_ktoa {
	uint32_t hwcur;
	uint32_t hwtail;
	uint32_t kern_need_kick;	/* the loop wants to be notified */
	uint32_t pad[13];
};

/* Stores before it become visible before stores after it. */
static inline void
nm_stst_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

/* Loads before it are done before loads after it. */
static inline void
nm_ldld_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
}

/*
 * Publishes cur and head to the loop. Slots come first; then cur, then head: the loop reads head
 * and then cur, so it may find cur ahead of head, which is legal, but never behind it.
 */
static inline void
nm_sync_kloop_appl_write(struct nm_csb_atok *atok, uint32_t cur, uint32_t head)
{
	nm_stst_barrier();	/* slots, then pointers */
	atok->cur = cur;
	nm_stst_barrier();	/* cur, then head */
	atok->head = head;
}

/* Fetches what the loop published: hwtail, then hwcur, which it writes in the other order. */
static inline void
nm_sync_kloop_appl_read(struct nm_csb_ktoa *ktoa, uint32_t *hwtail, uint32_t *hwcur)
{
	*hwtail = ktoa->hwtail;
	nm_ldld_barrier();	/* hwtail, then hwcur */
	*hwcur = ktoa->hwcur;
	nm_ldld_barrier();	/* pointers, then slots */
}

/* ---------------------------------------------------------------- options */

/* NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS: one entry per ring, tx first; negative: none. */
struct nmreq_opt_sync_kloop_eventfds {
	struct nmreq_option nro_opt;
	struct {
		int32_t ioeventfd;	/* program notifies loop */
		int32_t irqfd;		/* loop notifies program */
	} eventfds[];
};

/* NETMAP_REQ_OPT_SYNC_KLOOP_MODE */
struct nmreq_opt_sync_kloop_mode {
	struct nmreq_option nro_opt;
#define NM_OPT_SYNC_KLOOP_DIRECT_TX	(1 << 0)
#define NM_OPT_SYNC_KLOOP_DIRECT_RX	(1 << 1)
	uint32_t mode;
};

/* NETMAP_REQ_OPT_EXTMEM */
struct nmreq_opt_extmem {
	struct nmreq_option nro_opt;
	uint64_t nro_usrptr;			/* in: address of the memory */
	struct nmreq_pools_info nro_info;	/* in, out */
};

/* NETMAP_REQ_OPT_CSB: addresses of arrays with one entry per ring, tx first. */
struct nmreq_opt_csb {
	struct nmreq_option nro_opt;
	uint64_t csb_atok;	/* of struct nm_csb_atok */
	uint64_t csb_ktoa;	/* of struct nm_csb_ktoa */
};

/* NETMAP_REQ_OPT_OFFSETS */
struct nmreq_opt_offsets {
	struct nmreq_option nro_opt;
	uint64_t nro_max_offset;	/* in, out: bytes; larger offsets are cut down to it */
	uint64_t nro_initial_offset;	/* in: bytes, for all slots */
	uint32_t nro_offset_bits;	/* in, out: low bits of slot.ptr; 0 is all */
	uint32_t nro_tx_align;		/* in: bytes, of packet starts in tx slots */
	uint64_t nro_min_gap;		/* 0 */
};

#endif /* _NET_NETMAP_H_ */
