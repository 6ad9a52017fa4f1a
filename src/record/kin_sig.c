/* SPDX-License-Identifier: MIT */
/*
 * The next of kin: who has handed over a descriptor for it, and the service
 * manager, in the words of sd_notify(3), which take no library.
 */
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/core.h"
#include "record/line.h"
#include "record/prepare.h"
#include "record/record.h"

static const char event_link[] = "anon_inode:[eventfd]";

int bz_sink_is_event(int fd)
{
	char path[32] = "/proc/self/fd/", to[sizeof(event_link)];
	char digits[12];
	uint32_t i = sizeof(digits), len = (uint32_t)strlen(path);
	long r;

	do
		digits[--i] = (char)('0' + fd % 10);
	while (fd /= 10);
	while (i < sizeof(digits))
		path[len++] = digits[i++];
	path[len] = '\0';
	r = bz_sys(SYS_readlinkat, AT_FDCWD, (long)path, (long)to, sizeof(to),
		   0, 0);
	return r == sizeof(event_link) - 1 && !memcmp(to, event_link, (size_t)r);
}

static void add_notice(struct bz_line *l, const struct bez_record *r)
{
	bz_line_add(l, "STOPPING=1\nERRNO=");
	bz_line_number(l, EHWPOISON, 10);
	bz_line_add(l, "\nSTATUS=lost memory at 0x");
	bz_line_number(l, r->addr, 16);
	bz_line_add(l, ", region \"");
	bz_line_name(l, r->name);
	bz_line_add(l, "\": ");
	bz_line_add(l, bez_outcome_name(r->outcome));
	bz_line_end(l);
}

void bz_notify(const struct bez_record *r)
{
	const struct sockaddr_un *to = &bz_recorder.notify;
	struct bz_line l;
	long fd;

	/* a child of vfork(2) or of a bare clone(2) is not the service either */
	if (!bz_recorder.notify_bytes ||
	    bz_sys0(SYS_getpid) != bz_recorder.notify_pid)
		return;
	l.len = 0;
	add_notice(&l, r);
	fd = bz_sys(SYS_socket, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, 0, 0, 0);
	if (fd < 0)
		return;
	bz_sys(SYS_sendto, fd, (long)l.text, l.len, MSG_DONTWAIT | MSG_NOSIGNAL,
	       (long)to, bz_recorder.notify_bytes);
	bz_close((int)fd);
}

void bz_tell_kin(const struct bez_record *r)
{
	const struct bz_sink *kin = &bz_recorder.kin;
	uint64_t one = 1;

	if (kin->kind == BZ_SINK_EVENT) {
		/* the number may be another such one's by now; no harm */
		if (bz_sink_is_event(kin->fd))
			bz_sys(SYS_write, kin->fd, (long)&one, sizeof(one), 0,
			       0, 0);
		return;
	}
	bz_sink_put(kin, r, sizeof(*r));
}
