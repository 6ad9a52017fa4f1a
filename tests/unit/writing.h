/* SPDX-License-Identifier: MIT */
/* A record whose every field is another number, and where it goes. */
#ifndef BEZOAR_TESTS_WRITING_H
#define BEZOAR_TESTS_WRITING_H

#include <sys/types.h>

#include "record/prepare.h"
#include "record/record.h"
#include "unit.h"

extern struct bz_mm *mm;
extern const struct bz_fault fault;
extern const struct bz_result result;
extern const struct bz_hit hit;

/* Write it, as of event number @seq. */
void write_one(uint64_t seq);
/* The same of a process that lives on. */
void write_left(uint64_t seq);

/* A house whose records go to @fd, lines to @text. */
void open_to(int fd, int text, uint32_t rate);

int memory_file(void);
off_t length(int fd);

#endif
