/* SPDX-License-Identifier: MIT */
/*
 * A name is one supervisor's at a time: it holds a lock on a file, and notes in there whom
 * it has started. One that is killed leaves the note; its program may have lived on (it has
 * become another user, or was to), and would have a second one beside it.
 */
#include "own.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "child.h"
#include "keep.h"
#include "state_json.h"

#define NOTE_ROOM	96
#define BOOT_DIGITS	32

static void boot(char ret[BOOT_DIGITS + 1])
{
	uint8_t id[16];

	keep_boot_id(id);
	state_boot_text(id, ret);
}

/* 0: nobody whom it names. */
static pid_t lives(int fd)
{
	char note[NOTE_ROOM], was[BOOT_DIGITS + 1], now[BOOT_DIGITS + 1];
	ssize_t n = pread(fd, note, sizeof(note) - 1, 0);
	uint64_t start_ticks;
	int pid;

	note[n > 0 ? n : 0] = '\0';
	if (sscanf(note, "%d %" SCNu64 " %32s", &pid, &start_ticks, was) != 3)
		return 0;
	boot(now);
	return pid > 0 && !strcmp(was, now) &&
	       !child_is_gone(pid, start_ticks) ? pid : 0;
}

int own_take(int folder, const char *name, pid_t *ret_lives)
{
	char file[NAME_FILE];
	int fd, r;

	if (state_file(file, name, ".lock"))
		return -ENAMETOOLONG;
	fd = state_open_lock(folder, file);
	if (fd < 0)
		return fd;
	r = flock(fd, LOCK_EX | LOCK_NB) ? -errno : 0;
	*ret_lives = r ? 0 : lives(fd);
	if (!r && !*ret_lives)
		return fd;
	close(fd);
	return r ? r : -EEXIST;
}

void own_note(int own, pid_t pid, uint64_t start_ticks)
{
	char note[NOTE_ROOM], id[BOOT_DIGITS + 1];
	int n;

	boot(id);
	n = snprintf(note, sizeof(note), "%d %" PRIu64 " %s\n", pid,
		     start_ticks, id);
	/* one that is not written is as if there were no such file */
	if (own >= 0 && (ftruncate(own, 0) ||
			 (pid && pwrite(own, note, (size_t)n, 0) != n)))
		ftruncate(own, 0);
}
