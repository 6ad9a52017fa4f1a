/* SPDX-License-Identifier: MIT */
#include "keep.h"

#include <bezoar/bezoar.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../tool.h"
#include "told.h"

#define SECOND 1000000000ull

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

uint64_t keep_wall_ns(void)
{
	return clock_ns(CLOCK_REALTIME);
}

void keep_boot_id(uint8_t ret[16])
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char text[40] = "", pair[3] = "";
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	size_t at = 0, i;

	if (fd >= 0)
		close(fd);
	memset(ret, 0, 16);
	for (i = 0; i < 16 && at + 1 < (size_t)(n > 0 ? n : 0); i++) {
		at += text[at] == '-';
		memcpy(pair, text + at, 2);
		ret[i] = (uint8_t)strtoul(pair, NULL, 16);
		at += 2;
	}
}

void keep_death(struct death *d, pid_t pid, enum death_by by)
{
	memset(d, 0, sizeof(*d));
	d->wall_ns = keep_wall_ns();
	d->boot_ns = clock_ns(CLOCK_BOOTTIME);
	keep_boot_id(d->boot_id);
	d->pid = pid > 0 ? pid : 0;
	d->by = by;
}

void keep_record(struct death *d, const struct bez_record *r)
{
	d->has_frame = !!(r->flags & BEZ_RECORD_HAS_FRAME);
	d->frame = d->has_frame ? r->frame : 0;
	d->digest = r->digest;
	d->addr = r->addr;
	d->cause = r->cause;
	memcpy(d->region, r->name, sizeof(d->region));
}

/* Without the lock nothing is read or written: who has it may be about to. */
static int lock(const struct keep *k)
{
	int r = state_lock(k->folder);

	if (r < 0)
		tool_say("what is remembered is locked: %s. This program goes on "
			 "by what it knows", strerror(-r));
	return r;
}

int keep_load(struct keep *k)
{
	int r, held;

	if (k->folder < 0)
		return 0;
	held = state_lock(k->folder);
	if (held < 0)
		return held;
	r = state_load(k->folder, k->name, &k->state);
	state_unlock(held);
	return r;
}

enum latch keep_add(struct keep *k, const struct death *d)
{
	int held = k->folder < 0 ? -1 : lock(k), r = 0;
	char shown[ESCAPED(NAME_MOST)];
	struct state now = k->state;

	/* somebody may have cleared it meanwhile */
	if (held >= 0) {
		if (state_load(k->folder, k->name, &now))
			now = k->state;
		now.looked = k->state.looked;
	}
	told_later(k->store, &now.deaths);
	if (!now.latch)
		now.latch = latch_of(&now.deaths, d, &k->limits, now.why);
	if (now.latch && !now.latched_ns)
		now.latched_ns = d->wall_ns;
	deaths_add(&now.deaths, d);
	k->state = now;
	if (held >= 0) {
		r = state_save(k->folder, k->name, &now);
		state_unlock(held);
	}
	if (r)
		tool_say("%s: its death is not remembered: %s",
			 escape(shown, k->name, NAME_MOST), strerror(-r));
	return now.latch;
}

void keep_looked(struct keep *k)
{
	uint64_t looked = k->state.looked;
	int r, held = lock(k);

	if (held < 0)
		return;
	r = state_load(k->folder, k->name, &k->state);
	k->state.looked = looked;
	if (!r)
		r = state_save(k->folder, k->name, &k->state);
	state_unlock(held);
	if (r)
		tool_say("what was looked at is not remembered: %s",
			 strerror(-r));
}

void keep_describe(const struct death *d, char *ret, size_t room)
{
	static const char *const by[] = {
		[BY_RECORD] = "its record says so",
		[BY_SHUTDOWN] = "its record says so; it came to an orderly end",
		[BY_KERNEL] = "the kernel says so; it has left no record",
	};
	char region[ESCAPED(sizeof(d->region))];
	size_t n = 0;

#define ADD(...) (n += n < room ? \
		  (size_t)snprintf(ret + n, room - n, __VA_ARGS__) : 0)
	*ret = '\0';
	if (d->addr)
		ADD("0x%" PRIx64 ", ", d->addr);
	if (*d->region)
		ADD("region \"%s\", ", escape(region, d->region,
					      sizeof(d->region)));
	if (d->has_frame)
		ADD("page frame 0x%" PRIx64 ", ", d->frame);
	if (*d->dimm)
		ADD("memory module %s, ", d->dimm);
	if (d->cause)
		ADD("%s (C%u), ", bez_cause_name((enum bez_cause)d->cause),
		    d->cause);
	if (d->digest)
		ADD("digest %016" PRIx64 ", ", d->digest);
	ADD("%s", by[d->by]);
#undef ADD
}

/* To be copied to a shell. */
static void quoted(const char *shown, char *ret)
{
	const char *dollar = strpbrk(shown, "'\\") ? "$" : "";

	ret += sprintf(ret, "%s'", dollar);
	for (; *shown; shown++) {
		if (*shown == '\'')
			*ret++ = '\\';
		*ret++ = *shown;
	}
	strcpy(ret, "'");
}

void keep_say_latched(const struct keep *k, char *ret, size_t room)
{
	char shown[ESCAPED(NAME_MOST)], word[2 * sizeof(shown)], when[32];
	char folder[ESCAPED(PATH_MAX)], where[2 * sizeof(folder)];
	int n;

	escape(folder, k->where ? k->where : "", PATH_MAX);
	quoted(folder, where);
	escape(shown, k->name, NAME_MOST);
	quoted(shown, word);
	n = snprintf(ret, room, "%s is latched since %s and is not started: %s",
		     shown, latch_when(k->state.latched_ns, when), k->state.why);
	/* what is remembered nowhere cannot be cleared */
	if (k->folder < 0 || n < 0 || (size_t)n >= room)
		return;
	snprintf(ret + n, room - (size_t)n, ". When the memory is replaced, or is "
		 "known to be good: bezoar clear %s%s%s%s%s",
		 k->where ? "--state " : "", k->where ? where : "",
		 k->where ? " " : "", *shown == '-' ? "-- " : "", word);
}

int keep_span(const char *word, uint64_t *ret_ns)
{
	static const char units[] = "smhd";
	static const unsigned int seconds[] = { 1, 60, 3600, 86400 };
	const char *unit;
	uint64_t n;
	char *end;

	if (*word < '0' || *word > '9')
		return -1;
	n = strtoull(word, &end, 10);
	unit = *end ? strchr(units, *end) : NULL;
	if (!unit || end[1] || !n ||
	    n > 36500ull * 86400 / seconds[unit - units])
		return -1;
	*ret_ns = n * seconds[unit - units] * SECOND;
	return 0;
}
