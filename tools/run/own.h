/* SPDX-License-Identifier: MIT */
#ifndef BEZOAR_TOOLS_RUN_OWN_H
#define BEZOAR_TOOLS_RUN_OWN_H

#include <stdint.h>
#include <sys/types.h>

/*
 * Become the one supervisor of @name: a descriptor to be kept. -EWOULDBLOCK: there is one;
 * -EEXIST: there was one, and *@ret_lives, whom it had started, lives; or another -errno.
 */
int own_take(int folder, const char *name, pid_t *ret_lives);

/* Whom it has started; @pid 0: nobody any more. @own: as above, or negative. */
void own_note(int own, pid_t pid, uint64_t start_ticks);

#endif
