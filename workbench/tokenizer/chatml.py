"""The chat template of our own tokenizers: ChatML with thoughts, tools and tool results."""

# Assistant text is trimmed: it then begins with a visible character, which no pre-tokenizer joins to the line break
# before it, so that the tokens of a prompt are a prefix of the tokens of the whole conversation.
# Every tag eats the white space before it, so a line may be left out without changing what is written.
MARKED_TEMPLATE = r"""
{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages and messages[0]['role'] == 'system' %}
        {{- (messages[0]['content'] or '') + '\n\n' }}
    {%- endif %}
    {{- 'You can use these functions:\n' }}
    {%- for tool in tools %}
        {{- (tool | tojson) + '\n' }}
    {%- endfor %}
    {{- 'To use one, write:\n<tool_call>\n{"name": NAME, "arguments": {...}}\n</tool_call><|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- set content = message['content'] or '' %}
    {%- if content is not string %}
        {{- raise_exception('message ' ~ loop.index ~ ': content is not text') }}
    {%- endif %}
    {%- if message['role'] == 'assistant' %}
        {%- set content = content | trim %}
        {%- set thoughts = (message['reasoning_content'] or '') | trim %}
        {%- if not thoughts and content.startswith('<think>') and '</think>' in content %}
            {%- set thoughts = content.split('</think>')[0][7:] | trim %}
            {%- set content = content.split('</think>', 1)[1] | trim %}
        {%- endif %}
        {{- '<|im_start|>assistant\n' }}
        {%- generation %}
        {%- if thoughts %}
            {{- '<think>\n' + thoughts + '\n</think>\n\n' }}
        {%- endif %}
        {{- content }}
        {%- for tool_call in message['tool_calls'] or [] %}
            {%- set call = tool_call['function'] or tool_call %}
            {%- set arguments = call['arguments'] if call['arguments'] is string else call['arguments'] | tojson %}
            {{- '\n' if content or not loop.first }}
            {{- '<tool_call>\n{"name": ' + (call['name'] | tojson) + ', "arguments": ' + arguments }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>' }}
        {%- endgeneration %}
        {{- '\n' }}
    {%- elif message['role'] == 'tool' %}
        {{- '<|im_start|>tool\n<tool_response>\n' + content + '\n</tool_response><|im_end|>\n' }}
    {%- elif message['role'] == 'user' or (message['role'] == 'system' and not (tools and loop.first)) %}
        {{- '<|im_start|>' + message['role'] + '\n' + content + '<|im_end|>\n' }}
    {%- elif message['role'] != 'system' %}
        {{- raise_exception('message ' ~ loop.index ~ ': unknown role ' ~ message['role']) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
""".strip()

# What other programs get: the same without the markers of trained text, which some of them do not know.
DEFAULT_TEMPLATE = "\n".join(line for line in MARKED_TEMPLATE.splitlines() if "generation %}" not in line)
