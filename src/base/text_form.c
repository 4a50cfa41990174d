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

void
plinth_text_form_session(void)
{
	for (size_t i = 0; i < lengthof(settings); i++)
		SetConfigOption(settings[i].name, settings[i].value, PGC_SUSET,
						PGC_S_SESSION);
}

void
plinth_text_form_local(void)
{
	for (size_t i = 0; i < lengthof(settings); i++)
		if (strcmp(GetConfigOption(settings[i].name, false, false),
				   settings[i].value) != 0)
			(void) set_config_option(settings[i].name, settings[i].value,
									 PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
									 true, 0, false);
}
