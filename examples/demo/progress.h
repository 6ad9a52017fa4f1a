/* SPDX-License-Identifier: MIT */
/* What is shown on stderr while it runs. */
#ifndef DEMO_PROGRESS_H
#define DEMO_PROGRESS_H

/*
 * Call it as often as you like: a terminal gets one line that is written over
 * ten times a second, anything else a new line each second.
 */
void progress(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Show the last of it and leave the line. */
void progress_end(void);

#endif
