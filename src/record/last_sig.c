/* SPDX-License-Identifier: MIT */
/*
 * The two records of a shutdown, and the daemon: there is time to wait for its
 * word, and a process that is not there any more cannot say it again. By a
 * connection of its own, as the usual one is shut for reading, and may be one to a
 * daemon that has gone since.
 */
#include "record/daemon.h"

#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "core/core.h"
#include "core/gate.h"
#include "record/prepare.h"

#define DIGESTS 8			/* in one answer; there are two at most */
#define FORK_NS 10000000u		/* that a fork is waited for */
#define PACKETS 64			/* that are listened to; likewise */

static const struct bz_sink none = { .kind = BZ_SINK_NONE, .fd = -1 };

static void hang_up(struct bz_sink *sink)
{
	if (sink->kind != BZ_SINK_NONE && bz_sink_is_ours(sink))
		bz_close(sink->fd);
	*sink = none;
}

static void call_now(struct bz_sink *sink)
{
	const struct bz_daemon *d = &bz_recorder.daemon;

	if (sink->kind != BZ_SINK_NONE || !d->to_bytes ||
	    bz_daemon_forbidden(d) || bz_daemon_socket(sink))
		return;
	if (bz_daemon_dial(d, sink))
		hang_up(sink);
}

/* A child that is made meanwhile would not know of it; bz_record_forked() closes what
 * is known. At the end there is no better time. */
static void call(struct bz_mm *mm, struct bz_walk *w, struct bz_sink *sink)
{
	int held = bz_gate_hold(mm, w, FORK_NS);

	call_now(sink);
	bz_gate_leave(w, held);
}

static int tell(const struct bz_sink *sink, const struct bez_record *r)
{
	return sink->kind != BZ_SINK_NONE && !bz_sink_put(sink, r, sizeof(*r));
}

int bz_last_word(struct bz_mm *mm, struct bz_walk *w, const struct bez_record *r)
{
	struct bz_sink sink = none;
	int told;

	call(mm, w, &sink);
	told = tell(&sink, r);
	hang_up(&sink);
	return told;
}

static int write_down(const struct bez_record *r)
{
	const struct bz_sink *sink = &bz_recorder.sink;

	return sink->kind != BZ_SINK_NONE &&
	       !bz_sink_put(sink, r, sizeof(*r));
}

/* A process that sees another root than it did has still the usual connection. No
 * answer will come of that, so it is written down as well. */
static enum bz_way tell_and_write(struct bz_mm *mm, const struct bez_record *r,
				  uint64_t now)
{
	int sent = !bz_daemon_put(mm, r, now);

	return write_down(r) ? BZ_WAY_WRITTEN :
	       sent ? BZ_WAY_SENT : BZ_WAY_NONE;
}

/* Until something can be read, or @ns are over. 0: one may not wait here. */
static int wait_for(const struct bz_last *l, uint64_t ns)
{
	struct pollfd fd = { .fd = l->sink.fd, .events = POLLIN };
	struct timespec ts = {
		.tv_sec = (time_t)(ns / 1000000000u),
		.tv_nsec = (long)(ns % 1000000000u),
	};
	long r;

	if (!bz_sink_is_ours(&l->sink))
		return 0;
	r = bz_sys(SYS_ppoll, (long)&fd, 1, (long)&ts, 0, 0, 0);
	return r >= 0 || r == -EINTR;
}

/* One packet of what the daemon says. What recvfrom(2) says. */
static long listen_to(const struct bz_last *l, uint64_t digests[DIGESTS])
{
	if (!bz_sink_is_ours(&l->sink))
		return -EBADF;
	return bz_sys(SYS_recvfrom, l->sink.fd, (long)digests,
		      DIGESTS * sizeof(digests[0]), MSG_DONTWAIT, 0, 0);
}

/*
 * Has the daemon said, by @until, that it has the first, if nobody has that yet, and
 * @r, if that is not NULL? One that says a lot, and never that, is not listened to
 * for long.
 */
static int is_kept(struct bz_last *l, const struct bez_record *r, uint64_t until)
{
	uint64_t digests[DIGESTS], now;
	int last = !r, packets = 0;
	long n, i;

	while (packets < PACKETS) {
		n = listen_to(l, digests);
		if (!n || (n < 0 && n != -EAGAIN && n != -EINTR))
			return 0;	/* it has ended */
		packets += n > 0;
		for (i = 0; i < n / (long)sizeof(digests[0]); i++) {
			last |= r && digests[i] == r->digest;
			l->begun_safe |= digests[i] == l->begun.digest;
		}
		if (last && l->begun_safe)
			return 1;
		now = bz_now_ns();
		if (now >= until ||
		    (n == -EAGAIN && !wait_for(l, until - now)))
			return 0;
	}
	return 0;
}

static int has_file(void)
{
	return bz_recorder.sink.kind != BZ_SINK_NONE;
}

/* Hooks may take long, and end badly: what is not known to be kept after a moment is
 * written. Without a file there is nothing to wait for yet. */
static enum bz_way begun_sent(struct bz_last *l, const struct bez_record *r)
{
	if (!has_file() || is_kept(l, NULL, bz_after(bz_now_ns(), l->begun_ns)))
		return BZ_WAY_SENT;
	l->begun_safe = (uint32_t)write_down(r);
	return l->begun_safe ? BZ_WAY_WRITTEN : BZ_WAY_SENT;
}

enum bz_way bz_last_begun(struct bz_mm *mm, struct bz_walk *w,
			  const struct bez_record *r, uint64_t now)
{
	struct bz_last *l = &bz_recorder.last;
	enum bz_way way;

	/* one that a child of vfork(2) has left is no number of ours */
	l->sink = none;
	l->until = bz_after(now, bz_core.shutdown_ns);
	l->begun = *r;
	l->begun_safe = 0;
	call(mm, w, &l->sink);
	if (tell(&l->sink, r))
		return begun_sent(l, r);
	way = tell_and_write(mm, r, now);
	l->begun_safe = way == BZ_WAY_WRITTEN;
	return way;
}

/* The daemon may have gone while the hooks ran, and another one be there: that gets
 * the first, too. */
static int tell_end(struct bz_mm *mm, struct bz_walk *w, struct bz_last *l,
		    const struct bez_record *r)
{
	int is_new;

	do {
		is_new = l->sink.kind == BZ_SINK_NONE;
		call(mm, w, &l->sink);
		if ((!is_new || tell(&l->sink, &l->begun)) &&
		    tell(&l->sink, r))
			return 1;
		hang_up(&l->sink);
	} while (!is_new);
	return 0;
}

enum bz_way bz_last_ended(struct bz_mm *mm, struct bz_walk *w,
			  const struct bez_record *r, uint64_t now)
{
	struct bz_last *l = &bz_recorder.last;
	uint64_t until = l->until, soon = bz_after(bz_now_ns(), l->end_ns);
	int told, kept;

	if (has_file() && soon < until)
		until = soon;
	told = tell_end(mm, w, l, r);
	kept = told && is_kept(l, r, until);
	hang_up(&l->sink);
	if (kept)
		return BZ_WAY_SENT;
	if (!l->begun_safe)
		write_down(&l->begun);
	if (!told)
		return tell_and_write(mm, r, now);
	return write_down(r) ? BZ_WAY_WRITTEN : BZ_WAY_NONE;
}
