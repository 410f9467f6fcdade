/* Opens a netmap port after its library's constructor did other work; exits 0 if all of it worked. */
#define NETMAP_WITH_LIBS
#include <net/netmap_user.h>

extern int early_failures;

int
main(void)
{
	struct nm_desc *d = nm_open("vale0:early", NULL, 0, NULL);

	if (d == NULL) {
		perror("nm_open");
		return 2;
	}
	nm_close(d);
	return early_failures != 0;
}
