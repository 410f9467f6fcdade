/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Port names for nm_open. Part of net/netmap_user.h; include that, not this file.
 */
#ifndef _NET_NETMAP_USER_NAME_H_
#define _NET_NETMAP_USER_NAME_H_

/* Whether s up to e has letters, digits and underscores only. */
NM_LIB_ int
nm_is_identifier(const char *s, const char *e)
{
	while (s != e && (isalnum((unsigned char)*s) || *s == '_'))
		s++;
	return s == e;
}

/* Stores the port name at the start of ifname; returns what follows it, or NULL and a reason. */
NM_LIB_ const char *
nm_parse_name_(const char *ifname, struct nmreq *req, char *why)
{
	const char *name = ifname, *end;
	size_t len;

	if (ifname[0] == 'v') {
		const char *port = strchr(ifname, ':');

		if (port == NULL) {
			snprintf(why, MAXERRMSG, "no ':' in the name of a switch port");
			return NULL;
		}
		if (port - ifname < 4 || !nm_is_identifier(ifname + 4, port)) {
			snprintf(why, MAXERRMSG, "bad switch name");
			return NULL;
		}
		port++;
		end = port + strcspn(port, "-*^{}/@");
		if (!nm_is_identifier(port, end)) {
			snprintf(why, MAXERRMSG, "bad switch port name");
			return NULL;
		}
	} else {
		len = strlen(ifname);
		name = ifname + (len < strlen("netmap:") ? len : strlen("netmap:"));
		end = name + strcspn(name, "-*^{}/@");
	}

	len = (size_t)(end - name);
	if (len >= sizeof(req->nr_name)) {
		snprintf(why, MAXERRMSG, "port name longer than %d", (int)sizeof(req->nr_name) - 1);
		return NULL;
	}
	memcpy(req->nr_name, name, len);
	req->nr_name[len] = '\0';
	return end;
}

/* The flag of a letter after '/', or 0. */
NM_LIB_ uint32_t
nm_parse_flag_(char letter)
{
	switch (letter) {
	case 'x': return NR_EXCLUSIVE;
	case 'z': return NR_ZCOPY_MON;
	case 't': return NR_MONITOR_TX;
	case 'r': return NR_MONITOR_RX;
	case 'R': return NR_RX_RINGS_ONLY;
	case 'T': return NR_TX_RINGS_ONLY;
	default: return 0;
	}
}

/* Reads a number at *s and steps over it; -1 and a reason if nothing is there or it is out of
 * range. No digits count as 0, an old habit that scripts may rely on. */
NM_LIB_ long
nm_parse_number_(const char **s, long min, long max, char *why)
{
	char *end;
	long n;

	if (**s == '\0') {
		snprintf(why, MAXERRMSG, "name ends where a number should be");
		return -1;
	}
	n = strtol(*s, &end, 10);
	*s = end;
	if (n < min || n > max) {
		snprintf(why, MAXERRMSG, "number %ld is not in %ld..%ld", n, min, max);
		return -1;
	}
	return n;
}

/* Reads the part that says which rings. */
NM_LIB_ int
nm_parse_rings_(const char **s, uint32_t *flags, uint16_t *ringid, char *why)
{
	long n;

	switch (**s) {
	case '^': *flags = NR_REG_SW; break;
	case '*': *flags = NR_REG_NIC_SW; break;
	case '-': *flags = NR_REG_ONE_NIC; break;
	case '{': *flags = NR_REG_PIPE_MASTER; break;
	case '}': *flags = NR_REG_PIPE_SLAVE; break;
	default: *flags = NR_REG_ALL_NIC; return 0;
	}
	(*s)++;
	if (*flags == NR_REG_SW || *flags == NR_REG_NIC_SW)
		return 0;
	n = nm_parse_number_(s, 0, NETMAP_RING_MASK - 1, why);
	if (n < 0)
		return -1;
	*ringid = (uint16_t)n;
	return 0;
}

/* Reads flags and memory ids up to the end of the name. */
NM_LIB_ int
nm_parse_rest_(const char *s, uint32_t *flags, uint16_t *mem_id, char *why)
{
	long n;

	while (*s == '/' || *s == '@') {
		if (*s++ == '/') {
			if (*s == '\0') {
				snprintf(why, MAXERRMSG, "name ends where flags should be");
				return -1;
			}
			for (; *s != '\0' && *s != '@'; s++) {
				if (nm_parse_flag_(*s) == 0) {
					snprintf(why, MAXERRMSG, "no such flag: '%c'", *s);
					return -1;
				}
				*flags |= nm_parse_flag_(*s);
			}
		} else {
			if (*mem_id != 0) {
				snprintf(why, MAXERRMSG, "memory id given twice");
				return -1;
			}
			n = nm_parse_number_(&s, 1, LONG_MAX, why);
			if (n < 0)
				return -1;
			*mem_id = (uint16_t)n;
		}
	}
	if (*s != '\0') {
		snprintf(why, MAXERRMSG, "did not expect '%c' in the name", *s);
		return -1;
	}
	return 0;
}

/*
 * Reads ifname into d->req: sets nr_name and nr_arg2, adds to nr_flags and nr_ringid. Returns 0, or
 * -1 with errno and up to MAXERRMSG bytes of reason in err, which may be NULL.
 */
NM_LIB_ int
nm_parse(const char *ifname, struct nm_desc *d, char *err)
{
	char why[MAXERRMSG] = "";
	const char *s;
	uint32_t flags = 0;
	uint16_t ringid = 0, mem_id = 0;

	errno = 0;
	s = nm_parse_name_(ifname, &d->req, why);
	if (s == NULL || nm_parse_rings_(&s, &flags, &ringid, why) != 0 ||
	    nm_parse_rest_(s, &flags, &mem_id, why) != 0) {
		if (errno == 0)
			errno = EINVAL;
		if (err != NULL)
			memcpy(err, why, sizeof(why));
		return -1;
	}
	d->req.nr_flags |= flags;
	d->req.nr_ringid |= ringid;
	d->req.nr_arg2 = mem_id;
	d->self = d;
	return 0;
}

#endif /* _NET_NETMAP_USER_NAME_H_ */
