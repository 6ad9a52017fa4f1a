/* SPDX-License-Identifier: MIT */
/* The state of a name as text. Between the files of the state. */
#ifndef BEZOAR_TOOLS_RUN_STATE_JSON_H
#define BEZOAR_TOOLS_RUN_STATE_JSON_H

#include "state.h"

/* 0; -EPROTO: of a newer version; -EINVAL: no state, *@ret_why. */
int state_parse(const char *text, struct state *ret_state,
		const char **ret_why);

/* Thirty-two digits. Returns @ret. */
const char *state_boot_text(const uint8_t id[16], char ret[33]);

/* To be freed. NULL: no memory. */
char *state_print(const char *name, const struct state *s);

#endif
