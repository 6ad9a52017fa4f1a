/* SPDX-License-Identifier: MIT */
/* bezoar log --follow: what comes later is shown once, whatever becomes of the store;
 * and it ends when nobody reads it, or there is nothing to read. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kin.h"

static struct kin k;
static int sender;
static pid_t reader;
static FILE *shown;

static void put(uint64_t id)
{
	struct bez_record r = kin_record(id);

	CHECK_EQ(kin_send(sender, &r, sizeof(r)), 0);
	kin_acks(sender, 1);
}

static void begin_daemon(void)
{
	kin_start(&k, "--delay", "0", NULL);
	sender = kin_connect(&k);
}

/* The reader; @shown is what it says. */
static void follow(void)
{
	int ends[2];

	CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
	reader = fork();
	if (!reader) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		execl(BEZOAR, BEZOAR, "log", "--follow", "--json", k.store,
		      (char *)NULL);
		_exit(98);
	}
	close(ends[1]);
	shown = fdopen(ends[0], "r");
	CHECK(shown);
}

static void says(const char *words)
{
	char line[4096];

	CHECK(fgets(line, sizeof(line), shown));
	CHECKF(strstr(line, words), "not %s, but: %s", words, line);
}

static void shows(int id)
{
	char words[32];

	snprintf(words, sizeof(words), "\"id\":%d,", id);
	says(words);
}

/* It has read what there was, and waits. */
static void begin(void)
{
	kin_make(&k);
	begin_daemon();
	put(1);
	follow();
	shows(1);
}

static void ends(int status)
{
	int how;

	CHECK_EQ(waitpid(reader, &how, 0), reader);
	CHECK_EQ(how, status << 8);
}

static void end(void)
{
	CHECK_EQ(kill(reader, SIGTERM), 0);
	waitpid(reader, NULL, 0);
	fclose(shown);
	close(sender);
	kin_end(&k);
}

static void move_away(void)
{
	char away[128];

	snprintf(away, sizeof(away), "%s/away.db", k.folder);
	CHECK_EQ(rename(k.store, away), 0);
}

/* It sees nothing of what comes now, until SIGCONT. */
static void stop(void)
{
	int how;

	CHECK_EQ(kill(reader, SIGSTOP), 0);
	CHECK_EQ(waitpid(reader, &how, WUNTRACED), reader);
	CHECK(WIFSTOPPED(how));
}

static void waits(void)
{
	int i;

	begin();
	for (i = 2; i <= 4; i++) {
		put((uint64_t)i);
		shows(i);
	}
	end();
}

static void move_all(void)
{
	char line[256];

	snprintf(line, sizeof(line), "cd %s && mkdir old && mv records.db* old",
		 k.folder);
	CHECK_EQ(system(line), 0);
}

/* The daemon begins another where its own was moved away; with its lock, or without. */
static void goes_along(void)
{
	void (*move)(void) = *(void (*const *)(void))tap_data();

	begin();
	move();
	put(20);
	says("moved away; what follows is of the new one");
	shows(20);
	put(21);
	shows(21);
	end();
}

/* What the old one has got meanwhile is not lost, nor is anything shown twice. */
static void misses_nothing(void)
{
	begin();
	stop();
	put(2);
	put(3);
	move_away();
	put(20);
	put(21);
	CHECK_EQ(kill(reader, SIGCONT), 0);
	shows(2);
	shows(3);
	says("moved away; what follows is of the new one");
	shows(20);
	shows(21);
	put(22);
	shows(22);
	end();
}

/* Nor if all of that is in a log, as the daemon could not put it into the old one while that
 * was read; be it left where it was: the new store is not to begin with it. */
static void misses_no_log(void)
{
	void (*move)(void) = *(void (*const *)(void))tap_data();

	begin();
	stop();
	put(2);
	put(3);
	close(sender);
	kin_stop(&k);
	move();
	begin_daemon();
	put(20);
	CHECK_EQ(kill(reader, SIGCONT), 0);
	shows(2);
	shows(3);
	says("moved away; what follows is of the new one");
	shows(20);
	put(21);
	shows(21);
	end();
}

/* Somebody puts another store there, whole: its log is the one that the old one had. */
static void replaced(void)
{
	struct kin another;

	kin_make(&another);
	kin_start(&another, "--delay", "0", NULL);
	sender = kin_connect(&another);
	put(50);
	close(sender);
	kin_stop(&another);
	begin();
	stop();
	put(2);
	put(3);
	move_away();
	CHECK_EQ(rename(another.store, k.store), 0);
	put(20);
	CHECK_EQ(kill(reader, SIGCONT), 0);
	shows(2);
	shows(3);
	says("moved away; what follows is of the new one");
	shows(50);
	shows(20);
	end();
	kin_end(&another);
}

/* The folder was moved, and another is there now: what is watched is the old one. */
static void other_folder(void)
{
	char old[128];

	begin();
	close(sender);
	kin_stop(&k);
	snprintf(old, sizeof(old), "%s-old", k.folder);
	CHECK_EQ(rename(k.folder, old), 0);
	CHECK_EQ(mkdir(k.folder, 0700), 0);
	begin_daemon();
	put(20);
	says("moved away; what follows is of the new one");
	shows(20);
	put(21);
	shows(21);
	end();
	strcpy(k.folder, old);
	kin_end(&k);
}

/* It may be begun before the daemon. */
static void before(void)
{
	kin_make(&k);
	follow();
	says("a bezoard is waited for");
	begin_daemon();
	put(1);
	shows(1);
	put(2);
	shows(2);
	end();
}

/* Where the new one is none that it knows, it says so and ends. */
static void other(void)
{
	begin();
	stop();
	close(sender);
	kin_stop(&k);
	move_away();
	begin_daemon();
	close(sender);
	kin_stop(&k);
	kin_change(&k, "UPDATE meta SET value = 999 WHERE key = 'schema'");
	/* as the daemon would, it touches something there */
	CHECK_EQ(chmod(k.store, 0600), 0);
	CHECK_EQ(kill(reader, SIGCONT), 0);
	says("moved away");
	says("newer version");
	ends(2);
	fclose(shown);
	kin_end(&k);
}

/* Nothing comes any more, and nobody reads. */
static void unread(void)
{
	begin();
	fclose(shown);
	ends(0);
	close(sender);
	kin_end(&k);
}

static void (*const moves[])(void) = { move_away, move_all };

static const struct tap_case cases[] = {
	{ .name = "what comes later is waited for", .run = waits },
	{ .name = "another store in its place", .run = goes_along,
	  .data = &moves[0] },
	{ .name = "the old one moved with its lock", .run = goes_along,
	  .data = &moves[1] },
	{ .name = "what it had not seen of the old one", .run = misses_nothing },
	{ .name = "what was in its log alone", .run = misses_no_log,
	  .data = &moves[1] },
	{ .name = "what was in a log that was left", .run = misses_no_log,
	  .data = &moves[0] },
	{ .name = "another whole store in its place", .run = replaced },
	{ .name = "another folder in its place", .run = other_folder },
	{ .name = "begun before the daemon", .run = before },
	{ .name = "a store of another version in its place", .run = other },
	{ .name = "nobody reads it", .run = unread, .timeout_s = 30 },
};
TAP_MAIN(cases)
