/* SPDX-License-Identifier: MIT */
/* Of a store or a file that grows: to wait for what comes later. */
#ifndef BEZOAR_TOOLS_FOLLOW_H
#define BEZOAR_TOOLS_FOLLOW_H

#include <stdint.h>

/* Watch the folder that @path is in. It may be another one by now, so each time: to
 * watch the same twice is to watch it once. */
void follow_watch(int notify, const char *path, uint32_t events);

/* Until something happens there, or for a second. 0: nobody reads what is shown. */
int follow_wait(int notify);

#endif
