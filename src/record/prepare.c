/* SPDX-License-Identifier: MIT */
/*
 * What is costly and stays the same is found out beforehand: who this process
 * is. Read by hand, as a child of fork(2) comes here, too, whose libc may be in
 * the middle of something. What cannot be found out stays empty.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/core.h"
#include "record/prepare.h"
#include "record/record.h"

#define DEFAULT_RATE	1000

/* The file's beginning, as text. Returns its length. */
static size_t read_text(const char *path, char *text, size_t room)
{
	long fd = bz_openat(path, O_RDONLY | O_CLOEXEC), r;
	size_t len = 0;

	if (fd >= 0) {
		while (len < room - 1 &&
		       (r = bz_read((int)fd, text + len, room - 1 - len)) > 0)
			len += (size_t)r;
		bz_close((int)fd);
	}
	text[len] = '\0';
	return len;
}

static int hex(char c)
{
	return c >= '0' && c <= '9' ? c - '0' :
	       c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void boot_id(uint8_t ret[16])
{
	char text[64];
	size_t i, nibbles = 0;

	memset(ret, 0, 16);
	read_text("/proc/sys/kernel/random/boot_id", text, sizeof(text));
	for (i = 0; text[i] && nibbles < 32; i++) {
		int h = hex(text[i]);

		if (h < 0)
			continue;
		ret[nibbles / 2] = (uint8_t)(ret[nibbles / 2] << 4 | h);
		nibbles++;
	}
}

/* Field 22 of proc(5), stat. The second is the name, in parentheses, which may
 * hold some itself. */
static uint64_t start_ticks(void)
{
	char text[1024], *at;
	uint64_t ticks = 0;
	uint32_t field = 2;

	read_text("/proc/self/stat", text, sizeof(text));
	at = strrchr(text, ')');
	while (at && field < 22) {
		at = strchr(at + 1, ' ');
		field++;
	}
	for (; at && *++at >= '0' && *at <= '9';)
		ticks = ticks * 10 + (uint64_t)(*at - '0');
	return ticks;
}

static void comm(char ret[16])
{
	char text[64];
	size_t len = read_text("/proc/self/comm", text, sizeof(text));

	if (len && text[len - 1] == '\n')
		len--;
	memset(ret, 0, 16);
	memcpy(ret, text, len < 15 ? len : 15);
}

/* Of version 2, or the first there is: the path behind the second colon of its
 * line. No name of a group has a line's end in it. */
static uint32_t cgroup(char *ret, size_t room)
{
	char text[4096], *line, *end;
	size_t len;

	memset(ret, 0, room);
	read_text("/proc/self/cgroup", text, sizeof(text));
	line = strncmp(text, "0::", 3) ? strstr(text, "\n0::") : text;
	line = strchr(line ? line : text, ':');
	line = line ? strchr(line + 1, ':') : NULL;
	if (!line)
		return 0;
	end = strchr(++line, '\n');
	len = end ? (size_t)(end - line) : strlen(line);
	if (len < room) {
		memcpy(ret, line, len);
		return 0;
	}
	/* the end says most */
	memcpy(ret, line + len - (room - 1), room - 1);
	return BEZ_RECORD_CGROUP_CUT;
}

/* It opens for everybody, but tells frames to the privileged only: then our own
 * page has one. Bits 0 to 54; proc(5). */
static int tells_frames(int fd)
{
	uint64_t entry = 0;

	return bz_pread(fd, &entry, sizeof(entry),
			(uint64_t)&bz_core / bz_core.page * sizeof(entry)) ==
		       sizeof(entry) &&
	       (entry & (((uint64_t)1 << 55) - 1));
}

static void open_pagemap(void)
{
	long fd = bz_openat("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

	bz_recorder.pagemap.kind = BZ_SINK_NONE;
	if (fd < 0)
		return;
	if (tells_frames((int)fd))
		bz_sink_keep((int)fd, BZ_SINK_READ, &bz_recorder.pagemap);
	else
		bz_close((int)fd);
}

static void prepare(struct bz_mm *mm)
{
	struct bez_record *r = &bz_recorder.prepared;

	memset(r, 0, sizeof(*r));
	memcpy(r->magic, BEZ_RECORD_MAGIC, sizeof(r->magic));
	r->version = BEZ_RECORD_VERSION;
	r->bytes = sizeof(*r);
	boot_id(r->boot_id);
	r->pid = (int32_t)bz_sys0(SYS_getpid);
	r->start_ticks = start_ticks();
	comm(r->comm);
	r->flags = cgroup(r->cgroup, sizeof(r->cgroup));
	open_pagemap();
	atomic_store(&mm->recording, 1);
}

/* sd_notify(3). Not whom the caller of a set-user-ID program names. */
static void find_notify(void)
{
	const char *name = secure_getenv("NOTIFY_SOCKET");

	bz_recorder.notify_bytes = 0;
	if (name && !bz_address(name, &bz_recorder.notify,
				&bz_recorder.notify_bytes))
		bz_recorder.notify_pid = (int32_t)bz_sys0(SYS_getpid);
}

int bz_record_open(struct bz_mm *mm, const struct bez_options *options)
{
	struct bz_recorder *me = &bz_recorder;
	int r = bz_sink_open(options->record_fd, &me->sink);

	if (r)
		return r;
	r = bz_sink_open(options->record_text_fd, &me->text);
	if (!r)
		r = bz_sink_open(options->kin_fd, &me->kin);
	if (!r && (me->sink.kind == BZ_SINK_EVENT ||
		   me->text.kind == BZ_SINK_EVENT ||
		   me->sink.kind == BZ_SINK_TERMINAL ||
		   me->kin.kind == BZ_SINK_TERMINAL))
		r = -EINVAL;
	if (!r)
		r = bz_daemon_open(mm, &me->daemon, options->kin_socket);
	if (r) {
		bz_record_close();
		return r;
	}
	find_notify();
	/* who wants a line of each has it already */
	if (me->daemon.to_bytes && me->text.kind == BZ_SINK_NONE)
		bz_say_open(&me->say, options->kin_socket != NULL);
	me->rate = options->record_rate ? options->record_rate : DEFAULT_RATE;
	me->on = me->daemon.to_bytes || me->sink.kind || me->text.kind;
	if (me->on || me->kin.kind || me->notify_bytes)
		prepare(mm);
	return 0;
}

void bz_record_close(void)
{
	bz_recorder.on = 0;
	bz_daemon_close(&bz_recorder.daemon);
	bz_recorder.say.how = BZ_SAY_NOT;
	bz_sink_close(&bz_recorder.sink);
	bz_sink_close(&bz_recorder.text);
	bz_sink_close(&bz_recorder.pagemap);
	bz_sink_close(&bz_recorder.kin);
	bz_recorder.notify_bytes = 0;
	memset(&bz_recorder.prepared, 0, sizeof(bz_recorder.prepared));
}

void bz_record_forked(struct bz_mm *mm)
{
	if (!bz_recorder.prepared.bytes)
		return;
	/* that socket is the service's, which our parent is */
	bz_recorder.notify_bytes = 0;
	/* nor is the end that our parent may be at */
	bz_sink_close(&bz_recorder.last.sink);
	/* another thread may have been at it; and a time namespace has another
	 * distance (time_namespaces(7)) */
	atomic_store(&bz_recorder.clocks.writing, 0);
	atomic_store(&bz_recorder.clocks.wall, UINT64_MAX);
	bz_daemon_forked(mm, &bz_recorder.daemon);
	/* that is about our parent's memory */
	bz_sink_close(&bz_recorder.pagemap);
	prepare(mm);
}
