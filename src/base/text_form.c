/*-------------------------------------------------------------------------
 *
 * text_form.c
 *		One text form of a value, whatever the session's settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/text_form.h"

#include "utils/guc.h"

/* What output functions depend on. */
static const struct
{
	const char *name;
	const char *value;
} settings[] = {
	{"DateStyle", "ISO, YMD"},	 {"IntervalStyle", "postgres"},
	{"TimeZone", "UTC"},		 {"bytea_output", "hex"},
	{"extra_float_digits", "1"}, {"lc_monetary", "C"},
	{"xmlbinary", "base64"},
};

static void set_all(GucAction action);

void
plinth_text_form_session(void)
{
	set_all(GUC_ACTION_SET);
}

int
plinth_text_form_begin(void)
{
	int level = NewGUCNestLevel();

	set_all(GUC_ACTION_SAVE);
	return level;
}

void
plinth_text_form_end(int level)
{
	AtEOXact_GUC(true, level);
}

static void
set_all(GucAction action)
{
	for (size_t i = 0; i < lengthof(settings); i++)
		(void) set_config_option(settings[i].name, settings[i].value, PGC_USERSET,
								 PGC_S_SESSION, action, true, 0, false);
}
