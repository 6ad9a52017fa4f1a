/* SPDX-License-Identifier: MIT */
/*
 * The campaign: the server in a child, and under it one page after the other is
 * lost; in the parent, clients that know what each answer has to be.
 */
#ifndef KV_CAMPAIGN_H
#define KV_CAMPAIGN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HAMMERS		2	/* clients that never pause */
#define HAMMER_KEYS	200
#define GET_KEYS	50	/* most in one get */
#define REPORT_MAX	1024	/* keys of one loss */

/* ------------------------- campaign_server.c: the child, and who poisons it */

struct server {
	int pid;
	FILE *ask, *answers;		/* what is to be lost, and what was */
	int fd[1 + HAMMERS];		/* connections */
	int listening, port;		/* for others, if it is open to them */
};

/* How the next page is lost. */
enum loss { LOSS_ITEMS, LOSS_SAID, LOSS_INDEX };

struct report {
	size_t keys;
	char key[REPORT_MAX][256];	/* that had a byte on it */
};

/* 0, or -1: it says why. */
int server_start(struct server *s, size_t mib, uint64_t seed, bool real,
		 bool open);
int server_lose(struct server *s, enum loss how, struct report *ret_report);
/* Has it ended as it should? */
bool server_stop(struct server *s);

/* ---------------------------- campaign_client.c: one that knows its answers */

struct client {
	int fd;
	const char *name;
	char *buffer;
	size_t begin, end;
	bool broken;			/* no answer, or none that can be */
};

struct value {
	char *at;			/* NULL: it is missing */
	size_t len;
};

void client_open(struct client *c, int fd, const char *name);
void client_close(struct client *c);	/* the socket stays open */
/* One line of answer, without its end; NULL: broken. */
char *client_ask(struct client *c, const char *line);
/* The answer to a command with a value. */
char *client_put(struct client *c, const char *command, const char *key,
		 const char *at, size_t len);
/* Get @count keys by one command: @each is called for those that came. -1: broken.
 * The value lives until it returns. */
int client_get(struct client *c, const char *const *keys, size_t count,
	       void (*each)(void *arg, size_t key, const char *at, size_t len),
	       void *arg);
/* A number of "stats"; UINT64_MAX: there is none. */
uint64_t client_stat(struct client *c, const char *name);

/* --------------------------- campaign_hammer.c: those that run all the time */

int hammers_start(struct server *s, uint64_t seed);
/* A key was lost: true, if it is one of theirs. */
bool hammers_lost(const char *key);

struct hammered {
	uint64_t answers, wrong;
	uint64_t misses;		/* of what was stored */
	uint64_t not_excused;		/* of these, of keys that were not lost */
	bool broken;
};

struct hammered hammers_stop(void);

#endif
