/*-------------------------------------------------------------------------
 *
 * wire_message.c
 *		A message to a topic as bytes, and as the JSON that readers are sent.
 *
 * Packed: a version byte, a byte that says whether a sender follows, 16 bytes
 * of it, and topic, event and payload, each with its terminating zero.
 *
 * Pure: values in, bytes or text out, and back.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "wire/wire.h"

#include "base/json_out.h"

#define MESSAGE_VERSION 1
#define MESSAGE_HEAD (2 + UUID_LEN)
#define MESSAGE_NAME_LENGTH 255

static const char *next_text(const char **at, const char *end, Size longest);

void
plinth_wire_pack_message(StringInfo out, const WireMessage *message)
{
	static const pg_uuid_t nobody = {0};
	const pg_uuid_t *sender = message->has_sender ? &message->sender : &nobody;

	appendStringInfoCharMacro(out, MESSAGE_VERSION);
	appendStringInfoCharMacro(out, message->has_sender ? 1 : 0);
	appendBinaryStringInfo(out, (const char *) sender->data, UUID_LEN);
	appendBinaryStringInfo(out, message->topic, strlen(message->topic) + 1);
	appendBinaryStringInfo(out, message->event, strlen(message->event) + 1);
	appendBinaryStringInfo(out, message->payload, strlen(message->payload) + 1);
}

bool
plinth_wire_unpack_message(const char *bytes, Size length, WireMessage *message)
{
	const char *at = bytes + MESSAGE_HEAD;
	const char *end = bytes + length;

	if (length < MESSAGE_HEAD || bytes[0] != MESSAGE_VERSION ||
		(bytes[1] != 0 && bytes[1] != 1))
		return false;
	message->has_sender = bytes[1] == 1;
	memcpy(message->sender.data, bytes + 2, UUID_LEN);
	message->topic = next_text(&at, end, MESSAGE_NAME_LENGTH);
	message->event = next_text(&at, end, MESSAGE_NAME_LENGTH);
	message->payload = next_text(&at, end, length);

	return message->topic != NULL && message->event != NULL &&
		   message->payload != NULL && at == end;
}

void
plinth_wire_write_message(StringInfo out, const WireMessage *message,
						  XLogRecPtr lsn, TimestampTz time)
{
	appendStringInfoCharMacro(out, '{');
	plinth_json_name(out, "eventType");
	appendStringInfoString(out, "\"broadcast\"");
	plinth_json_name(out, "topic");
	plinth_json_string(out, message->topic, strlen(message->topic));
	plinth_json_name(out, "event");
	plinth_json_string(out, message->event, strlen(message->event));
	plinth_json_name(out, "from");
	plinth_json_uuid(out, message->has_sender ? &message->sender : NULL);
	plinth_json_name(out, "commit_timestamp");
	plinth_json_time(out, time);
	plinth_json_name(out, "lsn");
	appendStringInfo(out, "\"%X/%X\"", LSN_FORMAT_ARGS(lsn));
	plinth_json_name(out, "payload");
	appendStringInfoString(out, message->payload);
	appendStringInfoCharMacro(out, '}');
}

/*
 * The text at *at, which is moved behind its zero; NULL when there is none of
 * 1 to longest bytes.
 */
static const char *
next_text(const char **at, const char *end, Size longest)
{
	const char *text = *at;
	const char *zero;

	if (text == NULL || text >= end)
		return NULL;
	zero = memchr(text, '\0', end - text);
	if (zero == NULL || zero == text || (Size) (zero - text) > longest)
	{
		*at = NULL;
		return NULL;
	}
	*at = zero + 1;
	return text;
}
