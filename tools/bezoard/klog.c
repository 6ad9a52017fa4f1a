/* SPDX-License-Identifier: MIT */
#include "klog.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TURN	256			/* records */
#define SECOND	1000000000ll
#define PATIENCE (SECOND / 5)		/* for the next line of an event */

static int64_t clock_of(clockid_t clock)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(clock, &ts);
	return (int64_t)ts.tv_sec * SECOND + ts.tv_nsec;
}

static void without(const char *path, const char *why, const char *hint)
{
	say("%s: %s. Records are taken without what the kernel says of page frames "
	    "and memory modules%s", path, why, hint);
}

void klog_open(struct klog *k, const char *path)
{
	k->fd = -1;
	k->due_ns = 0;
	kmsg_page = (uint64_t)sysconf(_SC_PAGESIZE);
	if (!path)
		return;
	k->fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (k->fd < 0)
		without(path, strerror(errno), errno == EPERM || errno == EACCES ?
			": reading it takes CAP_SYSLOG; --no-kmsg: do not try" :
			"");
}

void klog_never_waits(struct klog *k, const char *path)
{
	without(path, "it cannot be waited for, as a device like /dev/kmsg, or a "
		"FIFO, can", "");
	klog_close(k);
}

void klog_close(struct klog *k)
{
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
}

/*
 * A line that comes now was said now, if it was not late. The two clocks drift apart
 * slowly, so that what looks like much is the lateness of this process. A line of
 * the past says only how far the log's clock is ahead, at least.
 */
static void compare(struct klog *k, int64_t said, int64_t now)
{
	int64_t behind = now - said, most;

	most = k->is_live ? k->behind_ns + SECOND / 1000 +
			    (now - k->found_ns) / 1000 : k->behind_ns;
	k->behind_ns = behind < most ? behind : most;
	if (k->is_live)
		k->found_ns = now;
}

static int64_t wall_of(struct klog *k, uint64_t usec)
{
	int64_t said = (int64_t)usec * 1000, now = clock_of(CLOCK_MONOTONIC);
	int64_t age;

	/* no clock is so wrong: then no sum overflows either */
	if (said > now + 3600 * SECOND)
		said = now + 3600 * SECOND;
	compare(k, said, now);
	age = now - said - k->behind_ns;
	return clock_of(CLOCK_REALTIME) - (age > 0 ? age : 0);
}

static void take(struct klog *k, struct batch *b, const struct kmsg_said *said)
{
	int64_t wall = wall_of(k, said->usec);
	struct item *item;

	item = batch_room(b);
	if (!item)
		return;
	*item = (struct item){
		.kind = ITEM_KERNEL, .client = CLIENT_NONE, .pid = said->pid,
		.bytes = said->len,
		.more.kernel = {
			.seq = said->seq, .wall_ns = wall,
			.frame = said->frame,
			.kind = kmsg_kind_names[said->kind],
		},
	};
	memcpy(item->more.kernel.dimm, said->dimm, sizeof(said->dimm));
	memcpy(item->raw, said->text, said->len);
	batch_add(b);
}

void klog_time(struct klog *k, struct batch *b)
{
	struct kmsg_said said;

	k->due_ns = 0;
	if (kmsg_over(&k->parser, &said))
		take(k, b, &said);
}

void klog_turn(struct klog *k, struct batch *b)
{
	struct kmsg_said said;
	ssize_t len;
	int n;

	for (n = 0; n < TURN && k->fd >= 0; n++) {
		len = read(k->fd, k->bytes, sizeof(k->bytes));
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && errno == EPIPE) {
			batch_count(b, COUNT_KERNEL_LOST, 1);
			continue;
		}
		if (len < 0 && errno == EAGAIN) {
			k->is_live = 1;
			break;
		}
		if (len <= 0) {
			say("the kernel's log has ended: %s", len ?
			    strerror(errno) : "nobody writes to it any more");
			klog_close(k);
			break;
		}
		if (kmsg_take(&k->parser, k->bytes, (size_t)len, &said))
			take(k, b, &said);
	}
	if (kmsg_waits(&k->parser) && !k->due_ns)
		k->due_ns = clock_now() + PATIENCE;
}
