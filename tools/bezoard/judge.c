/* SPDX-License-Identifier: MIT */
#include "judge.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../read.h"

/* The last number in the line "NSpid:" of /proc/PID/status is the one in the
 * innermost namespace, its own. 0: it has ended, or there is no such line. */
static pid_t own_pid(pid_t pid)
{
	char path[40], text[4096], *line, *end;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/status", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	/* a process may call itself "NSpid:", but it may not begin a line */
	line = strstr(text, "\nNSpid:");
	if (!line)
		return 0;
	end = strchr(line + 1, '\n');
	if (end)
		*end = '\0';
	line = strrchr(line, '\t');
	return line ? (pid_t)strtol(line + 1, NULL, 10) : 0;
}

void judge_know(struct sender *sender)
{
	if (!sender->pid || sender->own_of == sender->pid)
		return;
	sender->own_pid = own_pid(sender->pid);
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
	judge_know(sender);
	if (!sender->pid || !sender->own_pid)
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
	/* where another version has its pid is not known here */
	if (piece.kind == PIECE_RECORD)
		ret_item->kind = whose(sender, piece.record.pid);
	return 1;
}
