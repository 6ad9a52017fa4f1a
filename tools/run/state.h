/* SPDX-License-Identifier: MIT */
/*
 * What is remembered of a name from one run to the next: its deaths, and whether it
 * is latched. One small file of JSON for each, in one folder, replaced as a whole.
 *
 * Who changes it reads, changes and writes it under the folder's lock: a supervisor
 * at a death, "bezoar clear", and the note of a service manager.
 */
#ifndef BEZOAR_TOOLS_RUN_STATE_H
#define BEZOAR_TOOLS_RUN_STATE_H

#include "../escape.h"
#include "latch.h"

#define NAME_MOST	255		/* bytes of a name: as units have */
#define NAME_FILE	256		/* room for its file's */
#define STATE_VERSION	1

struct state {
	enum latch latch;
	char why[WHY_ROOM];		/* latched: in words */
	uint64_t latched_ns;		/* CLOCK_REALTIME */
	uint64_t looked;		/* row of the daemon's store that was looked
					 * at last; kept when it is cleared */
	struct deaths deaths;
	char shown[ESCAPED(NAME_MOST)];	/* as it was read: the name, escaped; "" */
};

/* The folder that is used where none is named. NULL: there is none, as neither
 * XDG_STATE_HOME nor HOME is known. */
const char *state_folder(char ret[4096]);

/* Open it; @make: also where it is not there yet. A descriptor, or -errno; -EPERM: it
 * is another user's, or others can write there. */
int state_open(const char *folder, int make);

/* The name of a file for @name, with @end. Bytes that a file's name cannot hold, or
 * a shell would act on, are %HH; it never begins with a dot. Of a long one only the
 * beginning is there, and a digest. -1: @name is empty or too long. */
int state_file(char ret[NAME_FILE], const char *name, const char *end);

/* Until state_unlock() of what this returns; waits for who has it, two seconds at most.
 * Or -errno. */
int state_lock(int folder);
void state_unlock(int lock);

/*
 * Fill @ret_state; of a name that has none: nothing has happened. A file that cannot
 * be understood is kept under another name, which is said. Returns 0, or -errno: it
 * can not be read, or is of a newer version (-EPROTO).
 */
int state_load(int folder, const char *name, struct state *ret_state);
/* The same of a file, and nothing is changed: -EBADMSG, said, if it cannot be
 * understood. */
int state_look(int folder, const char *file, struct state *ret_state);
/* It is on the disk when this has returned 0. */
int state_save(int folder, const char *name, const struct state *s);
/* Nothing is known of its deaths any more. -ENOENT: nothing was. */
int state_forget(int folder, const char *name);

/* Open a file, made if need be, that only its owner may open, so that nobody else has a
 * lock on it. -errno. */
int state_open_lock(int folder, const char *file);

#endif
