/* SPDX-License-Identifier: MIT */
#include "judge.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../read.h"

static size_t text_of(const char *pid, const char *file, char *ret, size_t room)
{
	char path[48];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%s/%s", pid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, ret, room - 1);
	if (fd >= 0)
		close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return n > 0 ? (size_t)n : 0;
}

int judge_cgroup(const char *pid, char *ret, size_t room)
{
	char text[4096], *line, *end;

	text_of(pid, "cgroup", text, sizeof(text));
	line = strncmp(text, "0::/", 4) ? strstr(text, "\n0::/") : text;
	line = line ? strchr(line, '/') : NULL;
	end = line ? strchr(line, '\n') : NULL;
	if (!end || (size_t)(end - line) >= room)
		return -1;
	*end = '\0';
	memcpy(ret, line, (size_t)(end - line) + 1);
	return 0;
}

/* One of the four that a process has. Its number may be another's by now: of another
 * user's, nothing is believed. */
static int is_user(const char *status, uid_t uid)
{
	const char *at = strstr(status, "\nUid:");
	unsigned long id[4];
	int i;

	if (!at || sscanf(at, "\nUid: %lu %lu %lu %lu", &id[0], &id[1], &id[2],
			  &id[3]) != 4)
		return 0;
	for (i = 0; i < 4; i++)
		if (id[i] == uid)
			return 1;
	return 0;
}

/* The last number in the line "NSpid:" of /proc/PID/status is the one in the
 * innermost namespace, its own. 0: it has ended, or there is no such line. */
static pid_t own_pid(char *status)
{
	char *line, *end;

	/* a process may call itself "NSpid:", but it may not begin a line */
	line = strstr(status, "\nNSpid:");
	if (!line)
		return 0;
	end = strchr(line + 1, '\n');
	if (end)
		*end = '\0';
	line = strrchr(line, '\t');
	return line ? (pid_t)strtol(line + 1, NULL, 10) : 0;
}

static pid_t parent_of(const char *status)
{
	const char *line = strstr(status, "\nPPid:");

	return line ? (pid_t)strtol(line + sizeof("\nPPid:") - 1, NULL, 10) : 0;
}

void judge_know(struct sender *sender)
{
	char pid[16], status[4096];

	if (!sender->pid || sender->own_of == sender->pid)
		return;
	snprintf(pid, sizeof(pid), "%d", sender->pid);
	*sender->cgroup = '\0';
	/* before the user is looked at: if that is right, so was this */
	judge_cgroup(pid, sender->cgroup, sizeof(sender->cgroup));
	text_of(pid, "status", status, sizeof(status));
	if (!is_user(status, sender->uid))
		*sender->cgroup = '\0';
	sender->parent = parent_of(status);
	sender->own_pid = own_pid(status);
	if (sender->own_pid)
		sender->own_of = sender->pid;
}

/*
 * Whose is a record of @pid? A sender that has gone cannot be asked for its number in
 * its own namespace any more, nor one whose namespace is none of ours. It could be a
 * child of a container that used its parent's connection; and who would forge could
 * as well send and be gone. So it is believed by neither.
 */
static enum item_kind whose(struct sender *sender, int32_t pid)
{
	/* 0 is nobody */
	if (!pid)
		return ITEM_FORGED;
	if (sender->pid && sender->pid == pid)
		return ITEM_RECORD;
	if (!sender->pid || sender->own_of != sender->pid)
		return ITEM_UNVERIFIED;
	return sender->own_pid == pid ? ITEM_RECORD : ITEM_FORGED;
}

int judge(const unsigned char *bytes, size_t len, int cut,
	  struct sender *sender, struct item *ret_item, enum count *ret_count)
{
	struct piece piece = { .kind = PIECE_OTHER };
	size_t whole = piece_first(bytes, len, 1, &piece);

	if (piece.kind != PIECE_RECORD && piece.kind != PIECE_STRANGE) {
		*ret_count = cut ? COUNT_LONG :
			     len < BEZ_RECORD_BYTES ? COUNT_SHORT :
						      COUNT_DAMAGED;
		return 0;
	}
	if (cut || whole < len) {
		*ret_count = COUNT_LONG;
		return 0;
	}
	*ret_item = (struct item){
		.kind = ITEM_STRANGE, .origin = ORIGIN_SOCKET,
		.pid = sender->pid, .uid = sender->uid,
		.client = CLIENT_NONE, .bytes = (uint16_t)len,
	};
	memcpy(ret_item->raw, bytes, len);
	judge_know(sender);
	if (sender->own_of == sender->pid)
		memcpy(ret_item->cgroup, sender->cgroup,
		       sizeof(ret_item->cgroup));
	/* where another version has its pid is not known here */
	if (piece.kind == PIECE_RECORD)
		ret_item->kind = whose(sender, piece.record.pid);
	return 1;
}
