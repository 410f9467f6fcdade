/* classifiers INTERFACE: how many programs are bound to its tcx, where packets come in; or "none may be" and why. */
#include <errno.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BPF_PROG_QUERY 16
#define BPF_TCX_INGRESS 46

/* the beginning of union bpf_attr, for BPF_PROG_QUERY, as Linux 6.6 has it */
struct query {
	uint32_t target_ifindex, attach_type, query_flags, attach_flags;
	uint64_t prog_ids;
	uint32_t count, pad;
	uint64_t prog_attach_flags, link_ids, link_attach_flags, revision;
};

int main(int argc, char **argv)
{
	struct query query = { .attach_type = BPF_TCX_INGRESS };

	if (argc != 2 || (query.target_ifindex = if_nametoindex(argv[1])) == 0) {
		fprintf(stderr, "usage: classifiers INTERFACE\n");
		return 1;
	}
	/* ENOENT: nothing was ever there */
	if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) < 0 && errno != ENOENT)
		printf("none may be: %s\n", strerror(errno));
	else
		printf("%u\n", query.count);
	return 0;
}
