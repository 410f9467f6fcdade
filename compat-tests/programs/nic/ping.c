/*
 * ping ADDRESS: asks the host there until it answers, once a quarter of a second; "answer" then. It is killed by who
 * does not want to wait any longer.
 */
#include "../robust/robust.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>

static uint16_t checksum(const void *data, size_t length)
{
	const uint16_t *word = data;
	uint32_t sum = 0;

	for (; length > 1; length -= 2)
		sum += *word++;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

/* Is it the answer to a question of ours? */
static int is_answer(const unsigned char *packet, size_t length)
{
	size_t header = (size_t)(packet[0] & 15) * 4;
	struct icmphdr icmp;

	if (length < header + sizeof icmp)
		return 0;
	memcpy(&icmp, packet + header, sizeof icmp);
	return icmp.type == ICMP_ECHOREPLY && icmp.un.echo.id == (uint16_t)getpid();
}

int main(int argc, char **argv)
{
	struct sockaddr_in to = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);

	CHECK(fd >= 0 && argc == 2 && inet_pton(AF_INET, argv[1], &to.sin_addr) == 1);
	for (uint16_t n = 0;; n++) {
		struct icmphdr icmp = { .type = ICMP_ECHO, .un.echo = { .id = (uint16_t)getpid(), .sequence = n } };
		unsigned char packet[256];

		icmp.checksum = checksum(&icmp, sizeof icmp);
		sendto(fd, &icmp, sizeof icmp, 0, (struct sockaddr *)&to, sizeof to);
		while (poll_now(fd, POLLIN, 250) == POLLIN) {
			ssize_t length = recv(fd, packet, sizeof packet, 0);
			if (length > 0 && is_answer(packet, (size_t)length)) {
				say("answer n=%u", n);
				return 0;
			}
		}
	}
}
