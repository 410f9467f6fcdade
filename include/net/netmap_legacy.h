/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * netmap's interface before NIOCCTRL, still served. Include net/netmap.h, not this file.
 */
#ifndef _NET_NETMAP_LEGACY_H_
#define _NET_NETMAP_LEGACY_H_

/* Argument of NIOCREGIF and NIOCGINFO. It starts like a struct ifreq. */
struct nmreq {
	char nr_name[NM_IFNAMSIZ_];	/* in: port */
	uint32_t nr_version;	/* in, out */
	uint32_t nr_offset;	/* out: netmap_if in the region, bytes */
	uint32_t nr_memsize;	/* out: region, bytes */
	uint32_t nr_tx_slots;	/* in, out: per ring */
	uint32_t nr_rx_slots;
	uint16_t nr_tx_rings;	/* in, out */
	uint16_t nr_rx_rings;

	uint16_t nr_ringid;	/* in: ring number and the bits that follow */
#define NETMAP_HW_RING		0x4000	/* nr_flags 0: this NIC ring pair */
#define NETMAP_SW_RING		0x2000	/* nr_flags 0: the host rings */
#define NETMAP_RING_MASK	0x0fff	/* the number */
#define NETMAP_NO_TX_POLL	0x1000	/* poll sends only with POLLOUT */
#define NETMAP_DO_RX_POLL	0x8000	/* poll receives even without POLLIN */

	uint16_t nr_cmd;	/* in: 0 to bind a port, or: */
#define NETMAP_BDG_ATTACH	1	/* port to switch */
#define NETMAP_BDG_DETACH	2
#define NETMAP_BDG_REGOPS	3	/* kernel modules */
#define NETMAP_BDG_LIST		4	/* NIOCGINFO: walk switches and ports */
#define NETMAP_BDG_VNET_HDR	5	/* set virtio-net header length */
#define NETMAP_BDG_NEWIF	6	/* new persistent port */
#define NETMAP_BDG_DELIF	7
#define NETMAP_PT_HOST_CREATE	8	/* gone */
#define NETMAP_PT_HOST_DELETE	9	/* gone */
#define NETMAP_BDG_POLLING_ON	10
#define NETMAP_BDG_POLLING_OFF	11
#define NETMAP_VNET_HDR_GET	12	/* get virtio-net header length */

	uint16_t nr_arg1;	/* in, out: by command */
#define NETMAP_BDG_HOST		1	/* NETMAP_BDG_ATTACH: host rings as well */

	uint16_t nr_arg2;	/* in, out: region */
	uint32_t nr_arg3;	/* in, out: extra buffers */
	uint32_t nr_flags;	/* in: NR_REG_* mode and NR_* flags */
#define NR_REG_MASK		0xf	/* the mode */
	uint32_t spare2[1];
};

/* Argument of NIOCCONFIG: what a kernel module that drives a switch wants. */
#define NM_IFRDATA_LEN	256
struct nm_ifreq {
	char nifr_name[NM_IFNAMSIZ_];
	char data[NM_IFRDATA_LEN];
};

#define NIOCGINFO	_IOWR('i', 145, struct nmreq)	/* describe a port */
#define NIOCREGIF	_IOWR('i', 146, struct nmreq)	/* bind a port, or nr_cmd */
#define NIOCCONFIG	_IOWR('i', 150, struct nm_ifreq)

#endif /* _NET_NETMAP_LEGACY_H_ */
