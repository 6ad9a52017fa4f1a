/* SPDX-License-Identifier: MIT */
/*
 * What the daemon's store knows of a death that nobody here has a record of, or of
 * a page: whom the kernel has killed, which module a frame is on, whether it was
 * lost in another boot. Read only, and only if it may be read.
 */
#ifndef BEZOAR_TOOLS_RUN_TOLD_H
#define BEZOAR_TOOLS_RUN_TOLD_H

#include <bezoar/record.h>

#include "evidence.h"
#include "latch.h"

/* The store of the daemon of this machine. */
#define TOLD_STORE "/var/lib/bezoar/records.db"

/*
 * Has the kernel said in boot d->boot_id that it has killed d->pid by @sig because of
 * its memory, not before @since_ns (CLOCK_REALTIME)? Then 1, with frame and module if it
 * has told them. It is waited for, as what the kernel says takes a moment to the
 * store. Only for processes whose number is that of the whole machine.
 */
int told_killed(const char *store, uint64_t since_ns, int sig, struct death *d);

/* Frame and module of the record @d is about, and whether that frame was lost in
 * another boot, as far as the store knows. Waited for as well. */
void told_place(const char *store, struct death *d);

/* Modules of former deaths that were not known then: not waited for. */
void told_later(const char *store, struct deaths *deaths);

/*
 * For who was not there: the last record that makes an end @e of lost memory, of a
 * process of the control group @cgroup (or one below it) that is none of @seen, taken
 * not before @since_ns. Only by what the kernel has told the daemon: a record that
 * came by its socket, and the group that its sender was in. *@looked: the number of
 * the last row of the group that was looked at; only what is behind it is. @patient:
 * waited for, too. Returns whether there is one.
 */
int told_of_group(const char *store, const char *cgroup, uint64_t since_ns,
		  const struct deaths *seen, const struct ending *e, int patient,
		  uint64_t *looked, struct bez_record *ret_record);

#endif
