# which of the three growers made this wine? (chemical analysis, 13 numbers)
import pandas as pd
from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler
from sklearn.model_selection import train_test_split
from tensorflow.keras.models import Sequential
from tensorflow.keras.layers import Input, Dense, Dropout

wine = load_wine(as_frame=True)
df = wine.frame
print(df.head())
print(df.groupby('target').mean().T)

features = df.drop(columns='target')
target = pd.get_dummies(df['target']).astype('float32')

X_train, X_test, y_train, y_test = train_test_split(
    features, target, test_size=0.4, random_state=42, stratify=df['target'])
scaler = StandardScaler().fit(X_train)
X_train = scaler.transform(X_train)
X_test = scaler.transform(X_test)

model = Sequential([
    Input((X_train.shape[1],)),
    Dense(32, activation='relu'),
    Dropout(0.2),
    Dense(16, activation='relu'),
    Dense(3, activation='softmax'),
])
model.compile(loss='categorical_crossentropy', optimizer='rmsprop', metrics=['accuracy'])
model.fit(X_train, y_train, epochs=60, batch_size=16, verbose=0)

loss, acc = model.evaluate(X_test, y_test)
print('accuracy on the test set:', round(acc, 3))

predictions = pd.DataFrame(model.predict(X_test), columns=wine.target_names, index=y_test.index)
predictions['truth'] = df.loc[y_test.index, 'target'].map(lambda t: wine.target_names[t])
predictions.round(3).to_csv('predictions.csv', index_label='wine')
model.save('wine_model.keras')
