/* SPDX-License-Identifier: MIT */
/* A record to the daemon, from the handler: taken at once, or somebody else's. */
#include "record/daemon.h"

#include <sys/prctl.h>
#include <sys/socket.h>

#include "core/core.h"
#include "record/prepare.h"

#define AGAIN_NS 1000000000u		/* between two tries to connect */

int bz_daemon_socket(struct bz_sink *ret_sink)
{
	struct bz_sink sink = { .kind = BZ_SINK_SOCKET };
	long low = bz_sys(SYS_socket, AF_UNIX,
			  SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, 0,
			  0, 0), fd, r;

	if (low < 0)
		return (int)low;
	fd = bz_dup_high((int)low);
	if (fd < 0)
		fd = low;		/* then it stays */
	else
		bz_close((int)low);
	sink.fd = (int32_t)fd;
	sink.marked = bz_sink_mark(sink.fd);
	r = sink.marked ? 0 : bz_file_id(sink.fd, &sink.id);
	if (r) {
		bz_close(sink.fd);
		return (int)r;
	}
	*ret_sink = sink;
	return 0;
}

struct bz_sandbox bz_sandbox_now(void)
{
	struct bz_sandbox s;

	s.seccomp = (int32_t)bz_sys(SYS_prctl, PR_GET_SECCOMP, 0, 0, 0, 0, 0);
	s.no_new_privs = (int32_t)bz_sys(SYS_prctl, PR_GET_NO_NEW_PRIVS, 0, 0, 0,
					 0, 0);
	return s;
}

int bz_daemon_forbidden(const struct bz_daemon *d)
{
	struct bz_sandbox now = bz_sandbox_now();

	/* -EINVAL: the kernel has no such thing */
	if (!now.seccomp || now.seccomp == -EINVAL)
		return 0;
	return now.seccomp != d->sandbox.seccomp ||
	       now.no_new_privs != d->sandbox.no_new_privs;
}

/* Who listens there: root, or whoever this is. Another might have been quicker, and
 * would say that it keeps what it only reads. */
static int is_trusted(const struct bz_daemon *d, int fd)
{
	struct ucred who = { .uid = (uid_t)-1 };
	socklen_t len = sizeof(who);

	return !bz_sys(SYS_getsockopt, fd, SOL_SOCKET, SO_PEERCRED, (long)&who,
		       (long)&len, 0) &&
	       (who.uid == 0 || who.uid == d->uid);
}

int bz_daemon_dial(const struct bz_daemon *d, const struct bz_sink *sink)
{
	int r = (int)bz_sys(SYS_connect, sink->fd, (long)&d->to, d->to_bytes, 0,
			    0, 0);

	if (r || is_trusted(d, sink->fd))
		return r;
	/* nothing goes there any more, whoever has the number */
	bz_sys(SYS_shutdown, sink->fd, SHUT_RDWR, 0, 0, 0, 0);
	return -EPERM;
}

/* Nobody is at the other end, and nobody will be. Not so: a queue that is full
 * (EAGAIN), memory that is short, or a number that is not ours any more, in a child
 * of vfork(2), say, that has closed what it does not need. */
int bz_daemon_is_gone(int err)
{
	return err == -ENOTCONN || err == -EPIPE || err == -ECONNRESET ||
	       err == -ECONNREFUSED;
}

/* Not for each record, of which there may be many, to a daemon that stays away. */
static void ask_for_another(struct bz_mm *mm, uint64_t now)
{
	uint64_t tried = atomic_load_explicit(&mm->kin_tried,
					      memory_order_relaxed);

	/* another thread may have looked at the clock before it was tried */
	if (tried && (now < tried || now - tried < AGAIN_NS))
		return;
	if (!atomic_exchange(&mm->kin_wanted, 1))
		bz_ring(mm);
}

static int by_line(struct bz_mm *mm, const struct bez_record *r)
{
	int err;

	if (!atomic_load_explicit(&mm->kin_line, memory_order_relaxed))
		return -ENOTCONN;
	err = bz_sink_put(&bz_recorder.daemon.line, r, sizeof(*r));
	if (bz_daemon_is_gone(err))
		atomic_store_explicit(&mm->kin_line, 0, memory_order_relaxed);
	return err;
}

int bz_daemon_put(struct bz_mm *mm, const struct bez_record *r, uint64_t now)
{
	const struct bz_daemon *d = &bz_recorder.daemon;
	int err = -ENOTCONN;

	if (d->sink.kind == BZ_SINK_NONE)
		return err;
	if (!atomic_load_explicit(&mm->kin_gone, memory_order_relaxed)) {
		err = bz_sink_put(&d->sink, r, sizeof(*r));
		if (!err)
			return 0;
		/* the worker may have connected anew since: then that is done
		 * once more, and nothing else comes of it */
		if (bz_daemon_is_gone(err))
			atomic_store_explicit(&mm->kin_gone, 1,
					      memory_order_relaxed);
	}
	if (bz_daemon_is_gone(err))
		ask_for_another(mm, now);
	/* what the usual one has said is what is to be known, if neither takes it */
	return by_line(mm, r) ? err : 0;
}
