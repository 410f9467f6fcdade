/*
 * Reads names, each with a NUL behind it, and prints a line for each: what nmport_parse() makes of
 * it, in numbers, or the errno. With an argument, that option is switched on first.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnetmap.h>

static void
print_options(struct nmport_d *d)
{
	struct nmreq_option *o;

	nmreq_foreach_option(&d->hdr, o) {
		printf(" %s", nmreq_option_name(o->nro_reqtype));
		if (o->nro_reqtype == NETMAP_REQ_OPT_EXTMEM) {
			struct nmreq_pools_info *pi = nmport_extmem_getinfo(d);

			printf(" %llu %d %u %u %u %u %u %u", (unsigned long long)pi->nr_memsize,
			    (void *)pi == (void *)&((struct nmreq_opt_extmem *)o)->nro_info,
			    pi->nr_if_pool_objtotal, pi->nr_if_pool_objsize,
			    pi->nr_ring_pool_objtotal, pi->nr_ring_pool_objsize,
			    pi->nr_buf_pool_objtotal, pi->nr_buf_pool_objsize);
		} else if (o->nro_reqtype == NETMAP_REQ_OPT_OFFSETS) {
			struct nmreq_opt_offsets *oo = (struct nmreq_opt_offsets *)o;

			printf(" %llu %llu %u %u %llu", (unsigned long long)oo->nro_initial_offset,
			    (unsigned long long)oo->nro_max_offset, oo->nro_offset_bits,
			    oo->nro_tx_align, (unsigned long long)oo->nro_min_gap);
		}
	}
}

static void
print_name(const char *name)
{
	struct nmport_d *d = nmport_new();
	const char *c;

	if (d == NULL)
		exit(2);
	errno = 0;
	if (nmport_parse(d, name) != 0) {
		printf("%d\n", errno);
		nmport_delete(d);
		return;
	}
	printf("0 %u %u %d ", d->hdr.nr_version, d->hdr.nr_reqtype,
	    (void *)(uintptr_t)d->hdr.nr_body == (void *)&d->reg);
	for (c = d->hdr.nr_name; *c != '\0'; c++)
		printf("%02x", (unsigned char)*c);
	printf(" %u %u %llx %u", d->reg.nr_mode, d->reg.nr_ringid,
	    (unsigned long long)d->reg.nr_flags, d->reg.nr_mem_id);
	printf(" %u %u %u %u %u %u", d->reg.nr_tx_rings, d->reg.nr_rx_rings,
	    d->reg.nr_host_tx_rings, d->reg.nr_host_rx_rings, d->reg.nr_tx_slots,
	    d->reg.nr_rx_slots);
	print_options(d);
	printf("\n");
	nmport_undo_prepare(d);
}

int
main(int argc, char **argv)
{
	char *name = NULL;
	size_t room = 0;

	nmctx_get()->verbose = 0;
	if (argc > 1 && nmport_enable_option(argv[1]) != 0)
		return 2;
	while (getdelim(&name, &room, '\0', stdin) > 0)
		print_name(name);
	free(name);
	return 0;
}
