/* SPDX-License-Identifier: MIT */
/*
 * The matrix: every page type by every way to lose it, by every way to meet the
 * loss, by every action. What has to come of each cell is data (cells); how it is
 * done is a table for each side.
 *
 * A cell is two processes. The victim has the memory, the library, and meets the
 * loss; the keeper made it, loses pages behind its back, sees how it ends, and
 * gives the page frames back.
 */
#ifndef BEZOAR_LAB_MATRIX_H
#define BEZOAR_LAB_MATRIX_H

#include <bezoar/bezoar.h>
#include <stddef.h>
#include <stdint.h>

#include "mce.h"
#include "tap.h"

#define SMALL	((size_t)4096)
#define HUGE	((size_t)2 << 20)
#define GIB	((size_t)1 << 30)

#define DEBUG	"/sys/kernel/debug/hwpoison/"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---------------------------------------------------------- what is expected */

/* What the address of a signal is. */
enum matrix_where {
	AT_PAGE,			/* the 4 KiB that are bad */
	AT_BYTE,			/* the byte that was touched */
	AT_BASE,			/* all that is lost, where that begins */
	AT_SOME				/* somewhere in the 4 KiB that are bad */
};

/* As a signal of the kernel's has it. */
struct matrix_signal {
	int code;			/* si_code; 0: there is no signal */
	enum matrix_where where;
	int bits;			/* si_addr_lsb; -1: none */
};

/* How it ends for the code that met the loss. */
enum matrix_end {
	END_RETURNED = 1,		/* it went on */
	END_CAUGHT,			/* in the catch of its scope */
	END_FORMER,			/* in the former action */
	END_DIED,			/* of a signal */
	END_SHUT			/* the same, with two records of it */
};

struct matrix_outcome {
	const char *word;
	enum matrix_end end;
	uint16_t outcome, why;		/* enum bez_outcome, of the event; where
					 * the data names no other reason */
	int signal;			/* END_DIED */
};

struct matrix_expect {
	struct matrix_signal signal;
	size_t lost;			/* bytes that go at once */
	const struct matrix_outcome *outcome; /* NULL: why-not */
	uint16_t why;
	int all;			/* all bytes are right, not all but these */
	int kept;			/* the kernel may not give the frame back */
	int gone;			/* it does not: nobody asks it to */
	const char *reason;		/* "-": none */
};

/* ---------------------------------------------------------------- the memory */

struct matrix_memory {
	unsigned char *at;
	size_t len;
	size_t unit;			/* of the mapping's pages */
	size_t lose;			/* the 4 KiB that go bad, from at */
	size_t touch;			/* the byte that is met, from at */
	int fd;				/* -1: none */
	int flags;			/* of mmap(2) */
	int read_only;			/* it cannot be written */
	int unsplit;			/* bad, it stays mapped: who loses it is told */
	unsigned char *see;		/* another mapping of it, for its frame */
	struct bez_shared shared;	/* size 0: it is not shared */
	char path[64];
};

struct matrix_page {
	const char *name;
	/* Memory full of matrix_bytes(), the fields above. @fresh: where that can
	 * be, the victim has not touched it yet. Skips the case if it cannot be
	 * had. */
	void (*make)(struct matrix_memory *m, int fresh);
	/* When it is registered, and before it is lost; or NULL. */
	void (*ready)(struct matrix_memory *m);
	/* What else has to hold when it was @replaced or not; or NULL. */
	void (*after)(struct matrix_memory *m, int replaced);
	/* Instead of the trigger, if that is no call; or NULL. */
	void (*meet)(struct matrix_memory *m);
	/* Calls @victim somewhere else; or NULL. */
	void (*around)(void (*victim)(void));
};

/* ----------------------------------------------------------------- the tables */

struct matrix_injection {
	const char *name;
	/* In the victim. Fails the cell if the page is not lost. */
	void (*lose)(struct matrix_memory *m);
	/* In the keeper, when the victim asks for it; or NULL. */
	void (*asked)(void);
	int foreign;			/* by another, and before the first touch */
	int inside;			/* right before the trigger */
	/* Instead of the trigger, which is when it is lost; or NULL. */
	void (*meet)(struct matrix_memory *m);
	/* Once more, of what stays mapped. */
	void (*again)(struct matrix_memory *m);
};
/* machine.c: a machine check. */
void matrix_mce_lose(struct matrix_memory *m);
void matrix_mce_asked(void);
void matrix_mce_meet(struct matrix_memory *m);
void matrix_mce_again(struct matrix_memory *m);

struct matrix_trigger {
	const char *name;
	/* Meet it: returns if that goes on. */
	void (*meet)(struct matrix_memory *m);
	int call;			/* a system call meets it, not we */
	int store;
};

struct matrix_action {
	const char *name;
	uint8_t ladder[4];
	int source;			/* the region has one */
};

/* For those who make pages. Map it by its fields, aligned to 2 MiB or to its unit,
 * between places without access; choose what is lost; how much of the 2 MiB at
 * @at is huge in the words of smaps; register what shares @m->fd. */
void matrix_map(struct matrix_memory *m);
void matrix_choose(struct matrix_memory *m, size_t at);
unsigned long matrix_huge_kb(const void *at, const char *field);
void matrix_share(struct matrix_memory *m, uint32_t flags);
/* A file of six small pages that is on the disk, and which of them is lost. */
void matrix_on_disk(struct matrix_memory *m, const void *content);
/* Of a huge page: one that cannot be split any more, as a pipe holds a part of it. */
void matrix_pin(struct matrix_memory *m);

/* Of all pages*.c, one after the other, until NULL. */
const struct matrix_page *matrix_page(size_t i);
extern const struct matrix_page matrix_anon_pages[], matrix_file_pages[],
	matrix_huge_pages[], matrix_other_pages[];
extern const struct matrix_injection matrix_injections[];
extern const struct matrix_trigger matrix_triggers[];
extern const struct matrix_action matrix_actions[];
extern const size_t matrix_n_injections, matrix_n_triggers, matrix_n_actions;

struct matrix_cell {
	char name[80];			/* PAGE/INJECTION/TRIGGER/ACTION */
	const struct matrix_page *page;
	const struct matrix_injection *injection;
	const struct matrix_trigger *trigger;
	const struct matrix_action *action;
	struct matrix_expect expect;
};

/* What the data says of @cell on this kernel. Ends the program if it says
 * nothing, or nothing that can be understood. */
void matrix_expect(struct matrix_cell *cell);
/* Is the kernel that runs of one of these series? With commas between; "*": any. */
int matrix_kernel_is(const char *list);
extern const char matrix_cells[];	/* the file, made part of the program */

/* ------------------------------------------------------------------- the run */

/* The byte that belongs at each offset, modulo this. Made once. */
#define MATRIX_BYTES (3 * HUGE)
extern const unsigned char *matrix_bytes;
void matrix_make_bytes(void);
/* How many of the pages in there have a wrong byte. Touches them all. */
size_t matrix_wrong(const struct matrix_memory *m, size_t from, size_t to);
void matrix_fill(unsigned char *at, size_t len);

/* A cell, as the case of tap_data(): in the keeper; in its child. */
void matrix_keep(void);
void matrix_victim(const struct matrix_cell *cell);

/* In the victim: it is to meet the loss, and what came of that. */
struct matrix_met {
	enum matrix_end end;
	struct bez_lost lost;		/* of a catch */
	int code, bits;			/* of the former action */
	unsigned char *addr;
	uint64_t seq;			/* of events, before it */
};
void matrix_former(void);		/* be the former action */
void matrix_meet(const struct matrix_cell *cell, struct matrix_memory *m,
		 void (*meet)(struct matrix_memory *m),
		 struct matrix_met *ret_met);
/* Has the cell come out as expected? Fails it if not. */
void matrix_judge(const struct matrix_cell *cell, struct matrix_memory *m,
		  const struct matrix_met *met);
/* A call meets it, and nobody is told. */
int matrix_quiet(const struct matrix_cell *cell);
/* Is it what is told as the address of the loss? */
int matrix_is_told(const struct matrix_cell *cell, uint64_t addr);
/* The extent that is expected to be lost. */
size_t matrix_extent(const struct matrix_cell *cell,
		     const struct matrix_memory *m);

/* What victim and keeper share. */
#define MATRIX_FRAMES 16
struct matrix_link {
	uint64_t frames[MATRIX_FRAMES];	/* lost, to be given back */
	unsigned int n;
	int made;			/* there is memory to lose */
	size_t unit;			/* of the pages that they are parts of */
	int ask[2], answer[2];		/* pipes: the keeper is to lose the last */
	int records;			/* a file */
	uint64_t addr, touched;		/* of what is to be lost, when it is */
	char path[64];			/* a file to remove */
	struct lab_mce mce;		/* the machine check that is asked for */
	atomic_int met;			/* it has been raised */
};
extern struct matrix_link *matrix_link;

/* The frame behind @at, and note that it will be lost. */
uint64_t matrix_note_frame(const void *at);
/* HardwareCorrupted, in KiB. */
long matrix_corrupted(void);
/* Write to a file of the kernel's. 0 or a negative errno. */
int matrix_tell(const char *path, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
