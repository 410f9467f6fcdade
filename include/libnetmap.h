/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libnetmap: netmap ports by name.
 *
 *	struct nmport_d *d = nmport_open("vale0:a");
 *	struct netmap_ring *ring = NETMAP_RXRING(d->nifp, d->first_rx_ring);
 *	...
 *	poll() on d->fd, or ioctl(d->fd, NIOCRXSYNC)
 *	...
 *	nmport_close(d);
 *
 * Link with -lnetmap. The library uses /dev/netmap through the C library only, so a program runs
 * unchanged on kernel netmap and on a userspace one.
 *
 * Port names
 * ----------
 *	netmap:NAME[pipe][rings][/flags][@memid][@option...]
 *	vale[ID]:PORT[pipe][rings][/flags][@memid][@option...]
 *
 *	pipe	{ID master end, }ID slave end of a pipe that hangs on the port
 *	rings	-N one NIC ring pair	^ host rings	^N one host ring pair	* NIC and host rings
 *	flags	x exclusive	z zero-copy monitor	t, r monitor tx, rx	R, T rx, tx rings only
 *	memid	number of the memory region to use
 *
 * An ID has letters, digits and '_'. Options are separated by '@'; one is "option=value" (the
 * value of the key marked *) or "option:key=value,key=value..."; keys may be written with '-' or
 * '_'. Numbers that are not given are netmap's to choose.
 *
 *	share	*port		use the memory region of that port
 *	conf	rings slots	for both directions, for ports that this open creates,
 *		host-rings	and for one direction, which wins:
 *		tx-rings rx-rings host-tx-rings host-rx-rings tx-slots rx-slots
 *	extmem	*file		use this file, mapped, as memory region
 *		if-num if-size ring-num ring-size buf-num buf-size
 *	offset	*initial bits	packets start at an offset in their buffers; off unless
 *				nmport_enable_option("offset") was called
 *
 * Errors
 * ------
 * Functions that return int return 0, or -1 with errno set; those that return a pointer return
 * NULL then. A sentence that says what was wrong goes to the error() function of the context.
 * What a failed call was to change is as before.
 */
#ifndef LIBNETMAP_H_
#define LIBNETMAP_H_

#include <stddef.h>
#include <stdint.h>

#include <net/netmap_user.h>

#ifdef __cplusplus
extern "C" {
#endif

struct nmctx;
struct nmem_d;
struct nmport_cleanup_d;

/* ---------------------------------------------------------------- ports */

/* A port. The requests may be changed until nmport_register(), the rest is for reading. */
struct nmport_d {
	struct nmreq_header hdr;	/* what is asked of netmap, and its answer */
	struct nmreq_register reg;

	struct nmem_d *mem;		/* the region; one value per region and context */
	struct nmctx *ctx;		/* the context it was made in */

	int register_done;		/* nmport_register() has succeeded */
	int mmap_done;			/* nmport_mmap() has succeeded */
	struct nmreq_opt_extmem *extmem; /* the extmem option in hdr, or NULL */

	/* as in the struct nm_desc of nm_open() */
	int fd;				/* of /dev/netmap, or -1 */
	struct netmap_if *nifp;		/* in the region */
	uint16_t first_tx_ring;		/* rings that may be used: first to last; */
	uint16_t last_tx_ring;		/* none if first is greater than last */
	uint16_t first_rx_ring;
	uint16_t last_rx_ring;
	uint16_t cur_tx_ring;		/* where nmport_inject() tries first */
	uint16_t cur_rx_ring;

	struct nmport_cleanup_d *clist;	/* the library's own */
};

/*
 * Opening in one step, and in its parts:
 *
 *	nmport_open	= nmport_prepare + nmport_open_desc
 *	nmport_prepare	= nmport_new + nmport_parse
 *	nmport_open_desc = nmport_register + nmport_mmap
 *
 * Each part has a function that takes it back; nmport_close() takes all of it back.
 */
struct nmport_d *nmport_open(const char *portspec);
void nmport_close(struct nmport_d *d);

/* A descriptor in the default context, with an empty register request. */
struct nmport_d *nmport_new(void);
void nmport_delete(struct nmport_d *d);

/* Fills hdr and reg from a name. Options may open files (extmem) and ask netmap (share). */
int nmport_parse(struct nmport_d *d, const char *portspec);
/* Takes back options, too, whoever added them; the requests are as after nmport_new(). */
void nmport_undo_parse(struct nmport_d *d);

struct nmport_d *nmport_prepare(const char *portspec);
void nmport_undo_prepare(struct nmport_d *d);

/* Opens /dev/netmap and sends the request. */
int nmport_register(struct nmport_d *d);
void nmport_undo_register(struct nmport_d *d);

/* Maps the region, unless the context has it mapped, and finds the rings. */
int nmport_mmap(struct nmport_d *d);
void nmport_undo_mmap(struct nmport_d *d);

int nmport_open_desc(struct nmport_d *d);
void nmport_undo_open_desc(struct nmport_d *d);

/*
 * A descriptor with the same requests, its options left out, for nmport_open_desc(). A port that
 * uses extmem must be registered before it can be cloned.
 */
struct nmport_d *nmport_clone(struct nmport_d *d);

/*
 * Copies a packet into a free slot, or several, of the next tx ring that has room. Returns size,
 * or 0 when no ring had room. Nothing is sent before the next NIOCTXSYNC or poll().
 */
int nmport_inject(struct nmport_d *d, const void *buf, size_t size);

/*
 * Before nmport_register(): use size bytes at base as memory region. nmport_extmem_from_file()
 * maps a file, and unmaps it in nmport_undo_parse(). nmport_extmem_getinfo() is where to ask for
 * numbers and sizes, and where netmap's answer is after nmport_register(); NULL without extmem.
 */
int nmport_extmem(struct nmport_d *d, void *base, size_t size);
int nmport_extmem_from_file(struct nmport_d *d, const char *fname);
struct nmreq_pools_info *nmport_extmem_getinfo(struct nmport_d *d);

/*
 * Before nmport_register(): the low bits of slot->ptr hold an offset, in bytes, at which the packet
 * starts in its buffer (bits 0: all of ptr). All slots start with initial; no offset will be
 * greater than maxoff. Where slots share a buffer at several offsets, netmap writes at most mingap
 * bytes (0: no limit). See NETMAP_ROFFSET, NETMAP_WOFFSET, NETMAP_BUF_OFFSET.
 */
int nmport_offset(struct nmport_d *d, uint64_t initial, uint64_t maxoff, uint64_t bits,
    uint64_t mingap);

/*
 * Which options names may have, for the whole program. Enabling one that does not exist is
 * EOPNOTSUPP, disabling it does nothing.
 */
void nmport_disable_option(const char *opt);
int nmport_enable_option(const char *opt);

/* ---------------------------------------------------------------- requests */

/* Version, type and body; the rest is 0. */
void nmreq_header_init(struct nmreq_header *hdr, uint16_t reqtype, void *body);

/*
 * The parts of a name. Each function sets only the fields named here, and moves the pointer behind
 * what it has read. The first reads up to the rings (nr_name), the second up to the options
 * (nr_mode, nr_ringid, nr_flags, nr_mem_id; a mem_id that is not 0 may not change).
 */
int nmreq_header_decode(const char **ppspec, struct nmreq_header *hdr, struct nmctx *ctx);
int nmreq_register_decode(const char **pmode, struct nmreq_register *reg, struct nmctx *ctx);

/* The third part: options, to be understood by parsers. Earlier ones have done their work when a
 * later one fails. */
struct nmreq_opt_parser;
int nmreq_options_decode(const char *opt, struct nmreq_opt_parser *parsers, void *token,
    struct nmctx *ctx);

struct nmreq_parse_ctx;
typedef int (*nmreq_opt_parser_cb)(struct nmreq_parse_ctx *);

/* Most keys that an option has. */
#define NMREQ_OPT_MAXKEYS 16

struct nmreq_opt_key {
	const char *key;	/* with '_' for '-'; NULL ends the list */
	int id;			/* its place in nmreq_parse_ctx.keys */
	unsigned int flags;
#define NMREQ_OPTK_ALLOWEMPTY	(1U << 0)	/* "key" alone will do; its value is "key" */
#define NMREQ_OPTK_MUSTSET	(1U << 1)	/* must be given */
#define NMREQ_OPTK_DEFAULT	(1U << 2)	/* is the default key */
};

struct nmreq_opt_parser {
	const char *prefix;	/* the option's name */
	nmreq_opt_parser_cb parse;
	int default_key;	/* id of the key that "option=value" sets, or -1 */
	int nr_keys;
	unsigned int flags;
#define NMREQ_OPTF_DISABLED	(1U << 0)
#define NMREQ_OPTF_ALLOWEMPTY	(1U << 1)	/* "option" alone will do */

	struct nmreq_opt_parser *next;

	struct nmreq_opt_key keys[NMREQ_OPT_MAXKEYS];
} __attribute__((aligned(16)));

/* What a parser is given. It returns 0, or -1 with errno set. */
struct nmreq_parse_ctx {
	struct nmctx *ctx;
	void *token;				/* as given to nmreq_options_decode() */
	const char *keys[NMREQ_OPT_MAXKEYS];	/* values by id, NULL where there is none */
};

/*
 * Asks netmap for the memory region of a port, whose name may be followed by rings, flags or
 * options; the pointer is moved there. Returns the region's number or -1.
 */
int32_t nmreq_get_mem_id(const char **portname, struct nmctx *ctx);

/* The list of options of a request. nmreq_free_options() calls free() for each. */
void nmreq_push_option(struct nmreq_header *hdr, struct nmreq_option *opt);
void nmreq_remove_option(struct nmreq_header *hdr, struct nmreq_option *opt);
struct nmreq_option *nmreq_find_option(struct nmreq_header *hdr, uint32_t reqtype);
void nmreq_free_options(struct nmreq_header *hdr);
const char *nmreq_option_name(uint32_t reqtype);

#define nmreq_foreach_option(h_, o_)						\
	for ((o_) = (struct nmreq_option *)(uintptr_t)(h_)->nr_options;	\
	    (o_) != NULL;							\
	    (o_) = (struct nmreq_option *)(uintptr_t)(o_)->nro_next)

/* ---------------------------------------------------------------- contexts */

/*
 * A context says how the library reports errors and gets memory, and knows the regions that are
 * mapped. A program may make one of its own: copy the default, change what it likes, and
 * make it the default before it opens ports.
 */
typedef void (*nmctx_error_cb)(struct nmctx *, const char *);
typedef void *(*nmctx_malloc_cb)(struct nmctx *, size_t);
typedef void (*nmctx_free_cb)(struct nmctx *, void *);
typedef void (*nmctx_lock_cb)(struct nmctx *, int);

struct nmctx {
	int verbose;		/* 0: error() is not called */
	nmctx_error_cb error;	/* by default the sentence goes to stderr */
	nmctx_malloc_cb malloc;
	nmctx_free_cb free;
	nmctx_lock_cb lock;	/* 1 locks, 0 unlocks; NULL: one thread only */

	struct nmem_d *mem_descs;
};

/* A mapped region. */
struct nmem_d {
	uint16_t mem_id;
	int refcount;		/* ports that use it */
	void *mem;
	size_t size;
	int is_extmem;		/* the program's own memory, which the library does not unmap */

	struct nmem_d *next;	/* from mem_descs of the context on, NULL at both ends */
	struct nmem_d *prev;
};

/* The default context of the program, to begin with one that has a lock. Setting it gives the one
 * before. */
struct nmctx *nmctx_get(void);
struct nmctx *nmctx_set_default(struct nmctx *ctx);

/* Gives the default context a lock if it has none. There is no need to call it otherwise. */
void nmctx_set_threadsafe(void);

/* What the library itself does with a context, for option parsers. */
void nmctx_ferror(struct nmctx *ctx, const char *format, ...);
void *nmctx_malloc(struct nmctx *ctx, size_t size);
void nmctx_free(struct nmctx *ctx, void *p);
void nmctx_lock(struct nmctx *ctx);
void nmctx_unlock(struct nmctx *ctx);

#ifdef __cplusplus
}
#endif

#endif /* LIBNETMAP_H_ */
