/* Uses up its descriptors and then opens /dev/netmap: exits with the errno of that. */
#include <errno.h>
#include <fcntl.h>

int main(void)
{
	while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
		;
	return open("/dev/netmap", O_RDWR) < 0 ? errno : 0;
}
