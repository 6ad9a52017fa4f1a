/* SPDX-License-Identifier: MIT */
/* The connection to the daemon: whether one is wanted, and to make it. */
#include "record/daemon.h"

#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/core.h"
#include "core/gate.h"
#include "ladder.h"
#include "record/prepare.h"

/* bezoard commits every 20 ms, and a disk flushes in some more; it is not to be felt
 * that one stands still. */
#define BEGUN_NS	50000000u
#define END_NS		500000000u
#define FORK_NS		10000000u	/* that a fork is waited for */

static const struct bz_sink none = { .kind = BZ_SINK_NONE, .fd = -1 };

int bz_address(const char *name, struct sockaddr_un *ret_to,
	       uint32_t *ret_bytes)
{
	size_t len = strlen(name);

	if (len < 2 || (name[0] != '/' && name[0] != '@'))
		return -EINVAL;
	if (len > sizeof(ret_to->sun_path) - 1)
		return -ENAMETOOLONG;
	memset(ret_to, 0, sizeof(*ret_to));
	ret_to->sun_family = AF_UNIX;
	memcpy(ret_to->sun_path, name, len);
	if (name[0] == '@')
		ret_to->sun_path[0] = '\0';
	*ret_bytes = (uint32_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return 0;
}

/* 1: there is a connection at @sink, to which nobody will talk. */
static int connected(const struct bz_daemon *d, const struct bz_sink *sink)
{
	if (bz_daemon_dial(d, sink))
		return 0;
	bz_sys(SYS_shutdown, sink->fd, SHUT_RD, 0, 0, 0, 0);
	return 1;
}

/* Of seccomp(2), of this thread, as Linux 5.9 counts them. */
static uint32_t filters(const struct bz_sandbox *sandbox)
{
	return sandbox->seccomp <= 0 ? 0 :
	       (uint32_t)bz_status_number("/proc/thread-self/status",
					  "\nSeccomp_filters:");
}

int bz_daemon_open(struct bz_mm *mm, struct bz_daemon *d, const char *path)
{
	const char *name = path;
	int r;

	*d = (struct bz_daemon){ .sink = none, .line = none };
	/* who starts a set-user-ID program has no say in whom that talks to */
	if (!name)
		name = secure_getenv("BEZOAR_SOCKET");
	if (!name || !*name)
		return 0;
	r = bz_address(name, &d->to, &d->to_bytes);
	if (r)
		return path ? r : 0;	/* the environment is not the program's */
	d->uid = (uint32_t)bz_sys0(SYS_geteuid);
	d->sandbox = bz_sandbox_now();
	d->filters = filters(&d->sandbox);
	if (bz_daemon_socket(&d->sink))
		d->sink.kind = BZ_SINK_NONE;
	atomic_store(&mm->kin_gone, d->sink.kind == BZ_SINK_NONE ||
				    !connected(d, &d->sink));
	atomic_store(&mm->kin_wanted, 0);
	atomic_store(&mm->kin_tried, 0);
	atomic_store(&mm->kin_line, 0);
	bz_recorder.last.begun_ns = BEGUN_NS;
	bz_recorder.last.end_ns = END_NS;
	bz_core.has_kin = 1;
	return 0;
}

void bz_daemon_close(struct bz_daemon *d)
{
	bz_core.has_kin = 0;
	d->to_bytes = 0;
	bz_sink_close(&d->sink);
	bz_sink_close(&d->line);
}

static void connect_line(struct bz_mm *mm, struct bz_daemon *d)
{
	struct bz_sink new;

	bz_sink_close(&d->line);
	/* without the usual one nothing is sent at all */
	if (!d->to_bytes || d->sink.kind == BZ_SINK_NONE ||
	    bz_daemon_forbidden(d) ||
	    filters(&d->sandbox) != d->filters || bz_daemon_socket(&new))
		return;
	if (!new.marked || !connected(d, &new)) {
		bz_close(new.fd);
		return;
	}
	d->line = new;
	atomic_store(&mm->kin_line, 1);
}

/* A handler of the program's could fork on top of this, and its child have twice what
 * nobody knows of yet. */
void bz_daemon_forked(struct bz_mm *mm, struct bz_daemon *d)
{
	uint64_t mask = bz_handler_mask(), was = 0;

	bz_sigmask(SIG_BLOCK, &mask, &was);
	connect_line(mm, d);
	bz_sigmask(SIG_SETMASK, &was, NULL);
}

/*
 * One that is connected in the place of one that is not. The number must still be
 * ours: a program closes what is not its own, and opens something else there.
 */
static int replace(struct bz_daemon *d)
{
	struct bz_sink new;
	int r = -ENOTCONN;

	if (d->sink.kind == BZ_SINK_NONE || !d->sink.marked ||
	    bz_daemon_forbidden(d) || bz_daemon_socket(&new))
		return r;
	if (new.marked && connected(d, &new) && bz_sink_is_ours(&d->sink))
		r = (int)bz_sys(SYS_dup3, new.fd, d->sink.fd, O_CLOEXEC, 0, 0,
				0);
	bz_close(new.fd);
	return r;
}

/* No child is made meanwhile that would have it twice. */
static int replace_alone(struct bz_walk *w, void *arg)
{
	int held = bz_gate_hold(arg, w, FORK_NS), r;

	if (held < 0)
		return held;
	r = replace(&bz_recorder.daemon);
	bz_gate_leave(w, held);
	return r;
}

int bz_daemon_again(struct bz_mm *mm)
{
	if (!atomic_load(&mm->kin_wanted))
		return 0;
	atomic_store(&mm->kin_tried, bz_now_ns());
	if (bz_from_outside(mm, replace_alone, mm) >= 0)
		atomic_store(&mm->kin_gone, 0);
	/* who misses it from now on finds when it was tried */
	atomic_store(&mm->kin_wanted, 0);
	return 1;
}

static int is_local(int fd)
{
	int domain = 0;
	socklen_t len = sizeof(domain);

	return !bz_sys(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, (long)&domain,
		       (long)&len, 0) && domain == AF_UNIX;
}

/* How what is at @fd is spoken to, if it is nothing but a way to speak. Not so: a
 * disk, /dev/null, or a client's connection (inetd's programs have it there). */
static enum bz_say_how how_to_say(int fd, const struct stat *st)
{
	switch (bz_sink_kind(fd, st)) {
	case BZ_SINK_FILE:
		return BZ_SAY_APPEND;
	case BZ_SINK_SOCKET:
		return is_local(fd) ? BZ_SAY_SEND : BZ_SAY_NOT;
	case BZ_SINK_PIPE:
		return S_ISFIFO(st->st_mode) ? BZ_SAY_OPEN : BZ_SAY_NOT;
	case BZ_SINK_TERMINAL:
		return BZ_SAY_OPEN;
	default:
		return BZ_SAY_NOT;
	}
}

void bz_say_open(struct bz_say *say, int files)
{
	enum bz_say_how how;
	struct stat st;

	say->how = BZ_SAY_NOT;
	if (bz_sys(SYS_fstat, 2, (long)&st, 0, 0, 0, 0))
		return;
	how = how_to_say(2, &st);
	if (!bz_say_may(how) || (how == BZ_SAY_APPEND && !files))
		return;
	say->id = (struct bz_file_id){ st.st_dev, st.st_ino };
	say->how = how;
}
