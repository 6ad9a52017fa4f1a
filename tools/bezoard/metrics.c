/* SPDX-License-Identifier: MIT */
/* When the file is written, and how. */
#include "metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND		1000000000u
#define SHARE		20	/* no more than one part of these of the time */
#define NAME_ROOM	4096
#define NO_STORE	(-2)	/* it cannot be opened: that is a change, too */

void metrics_open(struct metrics *m, const struct batch *batch,
		  const char *path, const char *latches)
{
	*m = (struct metrics){
		.path = path, .batch = batch, .changes = -1, .fails = -1,
		.of_places = -1,
	};
	latches_open(&m->latches, path ? latches : NULL);
}

void metrics_latches(struct metrics *m)
{
	latches_changed(&m->latches);
	m->changes = -1;
}

/* In the same folder, with a name that is not collected. */
static int put(struct metrics *m, int up)
{
	char fresh[NAME_ROOM];
	FILE *to = NULL;
	int fd, bad;

	if (snprintf(fresh, sizeof(fresh), "%s.new", m->path) >= NAME_ROOM) {
		errno = ENAMETOOLONG;
		return -1;
	}
	/* what somebody else has put there is not followed */
	unlink(fresh);
	fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd >= 0 && !fchmod(fd, 0644))
		to = fdopen(fd, "w");
	if (!to) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	bad = metrics_text(m, to, up) || ferror(to);
	if (fclose(to) || bad || rename(fresh, m->path)) {
		bad = errno;
		unlink(fresh);
		errno = bad;
		return -1;
	}
	return 0;
}

/* Who changes a row changes this number; nothing else does. */
static int changes_of(const struct metrics *m)
{
	sqlite3 *db = m->batch->store->db;

	return db ? sqlite3_total_changes(db) : NO_STORE;
}

static void write_it(struct metrics *m, int up)
{
	uint64_t began = clock_now(), took;
	int changes = changes_of(m);
	int fails = m->batch->fails, bad;

	errno = 0;
	bad = put(m, up);
	if (bad && !m->said)
		say("%s: %s: it cannot be written, and is tried again", m->path,
		    errno ? strerror(errno) : "the store does not answer");
	if (!bad && m->said)
		say("%s: it is written again", m->path);
	m->said = bad;
	m->changes = bad ? -1 : changes;
	m->fails = fails;
	/* a store can be large, and a disk slow */
	took = clock_now() - began;
	m->next_ns = began + (took * SHARE > SECOND ? took * SHARE : SECOND);
	m->due_ns = bad ? m->next_ns : 0;
}

void metrics_turn(struct metrics *m)
{
	uint64_t now;

	m->due_ns = 0;
	if (!m->path || (m->changes == changes_of(m) &&
			 m->fails == m->batch->fails))
		return;
	now = clock_now();
	m->due_ns = m->next_ns > now ? m->next_ns : 0;
	if (!m->due_ns)
		write_it(m, 1);
}

void metrics_close(struct metrics *m)
{
	if (m->path)
		write_it(m, 0);
	latches_close(&m->latches);
}
